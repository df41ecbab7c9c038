"""The start of a worker that cannot work: what it prints, as a process against a real broker."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.local.server import RabbitProcess, free_ports
from tests.piped import popen, run

pytestmark = pytest.mark.broker
WRONG = "wr0ng-passw0rd"


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a worker."""
    return os.environ | {
        "VBS_ENDPOINT": "http://127.0.0.1:9",
        "LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "LOG_FORMAT": "text",
        **settings,
    }


def start(folder: Path, command: str = "worker", **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command until it ends by itself."""
    return run(*command.split(), environment=environment(folder, **settings), folder=folder)


@pytest.fixture(scope="module")
def place(own_broker: RabbitProcess) -> str:
    """Return host and port of a broker where the user «stranger» may use no virtual host."""
    own_broker.ctl("add_user", "stranger", WRONG)
    parts = urlsplit(own_broker.url)
    return f"{parts.hostname}:{parts.port}"


@pytest.mark.parametrize("command", ["worker", "topology declare", "dead-letters list"])
@pytest.mark.parametrize(
    ("login", "vhost", "says"),
    [
        (f"guest:{WRONG}", "", "the server refused user and password"),
        (f"nobody:{WRONG}", "", "the server refused user and password"),
        ("guest:guest", "/no%2Fsuch", "the virtual host does not exist"),
        (f"stranger:{WRONG}", "/", "the user may not use this virtual host"),
    ],
)
def test_a_refused_login_ends_a_command_in_one_line_that_names_the_setting(
    place: str, login: str, vhost: str, says: str, command: str, tmp_path: Path
) -> None:
    """The last line says what the broker refused and what to change, as doctor does; exit code 2."""
    done = start(tmp_path, command, AMQP_URL=f"amqp://{login}@{place}{vhost}")

    assert 2 == done.returncode, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"settings: AMQP_URL: {says} ({place}: ")
    assert line.endswith(" such as AMQP_URL=amqp://user:password@host:5672/vhost")
    assert WRONG not in line


def test_a_broker_that_is_down_is_no_wrong_setting(place: str, tmp_path: Path) -> None:
    """A worker goes on where one address refuses it and another cannot be reached: that one may return."""
    urls = f"amqp://guest:{WRONG}@{place},amqp://127.0.0.1:{free_ports(1)[0]}"
    with popen("worker", environment=environment(tmp_path, AMQP_URL=urls), folder=tmp_path) as worker:
        assert worker.stderr is not None
        try:
            line = next(line for line in worker.stderr if "not connected to the broker" in line)
            assert "Connect" in line
            assert worker.poll() is None
        finally:
            worker.terminate()
            worker.communicate(timeout=30)


@pytest.fixture
def taken() -> Iterator[str]:
    """Return an address where a program listens already."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "", "localhost"])
def test_an_address_in_use_ends_the_worker_in_one_line(taken: str, host: str, tmp_path: Path) -> None:
    """The line names HTTP_ADDRESS, and nothing else is printed."""
    address = f"{host}:{taken.rpartition(':')[2]}"

    done = start(tmp_path, HTTP_ADDRESS=address, AMQP_URL="amqp://127.0.0.1:1")

    assert (2, "") == (done.returncode, done.stdout)
    [line] = done.stderr.splitlines()
    assert line.startswith(f"settings: HTTP_ADDRESS: cannot listen at {address}: ")
    assert line.endswith(" such as HTTP_ADDRESS=127.0.0.1:8080")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("no-such-host.invalid:8080", "the host name cannot be resolved"),
        ("192.0.2.1:8080", "it is no address of this machine"),
        ("127.0.0.1:80", "this user may not use the port"),
    ],
)
def test_an_address_that_is_not_ours_ends_the_worker_in_one_line(
    address: str, says: str, tmp_path: Path
) -> None:
    """The line says why the program cannot listen there."""
    if address.endswith(":80") and os.geteuid() == 0:
        pytest.skip("root may listen at every port")
    done = start(tmp_path, HTTP_ADDRESS=address, AMQP_URL="amqp://127.0.0.1:1")

    assert 2 == done.returncode
    [line] = done.stderr.splitlines()
    assert line.startswith(f"settings: HTTP_ADDRESS: cannot listen at {address}: {says}")
