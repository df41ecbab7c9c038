"""``worker`` and ``doctor`` with unusual and unusable values of the shell's proxy variables."""

import json
import os
import signal
from pathlib import Path

import pytest

from infra.emulator.testing import running_emulator
from infra.local.server import free_ports
from tests.piped import Piped, popen

SECONDS = 60.0
PASSWORD = "s3cr3t"
PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
ODD = [
    "fd00::/8",
    "[::1]",
    "::1/128",
    "[fd00::1]:443,, fe80::1%eth0 ,*.example.com:99",
    "*",
    "[::1",
    "a/8 x:y",
]
UNUSABLE = [
    ({"HTTPS_PROXY": f"http://u:{PASSWORD}#@h:1"}, "HTTPS_PROXY"),
    ({"https_proxy": f"http://u:{PASSWORD}@h:99999"}, "https_proxy"),
    ({"ALL_PROXY": f"ftp://u:{PASSWORD}@h"}, "ALL_PROXY"),
    ({"ALL_PROXY": f"http://u:{PASSWORD}@h", "NO_PROXY": "fd00::/999"}, "NO_PROXY"),
    ({"ALL_PROXY": "http://h", "no_proxy": f"http://u:{PASSWORD}@h"}, "no_proxy"),
]


def command(tmp_path: Path, *arguments: str, **settings: str) -> Piped:
    """Start the console command with these settings; the broker is down."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    ours = {
        "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/",
        "LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
        "VBS_PROJECT_ID": PROJECT,
    }
    return popen(*arguments, environment={**kept, **ours, **settings})


def done(tmp_path: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run the command to its end, and return exit code, standard output and standard error."""
    with command(tmp_path, *arguments, **settings) as process:
        out, error = process.communicate(timeout=SECONDS)
    return process.wait(), out, error


@pytest.mark.parametrize("no_proxy", ODD)
def test_a_worker_starts_with_any_no_proxy(tmp_path: Path, no_proxy: str) -> None:
    """A worker starts with any NO_PROXY if no proxy is set, since no entry matters then."""
    with command(tmp_path, "worker", NO_PROXY=no_proxy, VBS_ENDPOINT="https://vbs.example.com") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=SECONDS)

    assert json.loads(line)["action"] == "worker.started"
    assert (0, "Traceback" in rest) == (process.returncode, False)


@pytest.mark.parametrize(("settings", "named"), UNUSABLE)
def test_a_worker_with_a_proxy_that_cannot_be_used_ends_with_one_line(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    """The worker prints one line that names the variable without a password, and exits with 2."""
    code, out, error = done(tmp_path, "worker", VBS_ENDPOINT="https://vbs.example.com", **settings)

    assert (2, "", 1) == (code, out, len(error.splitlines())), error
    assert error.startswith(f"settings: {named}: ")
    assert PASSWORD not in error


@pytest.mark.parametrize("no_proxy", ODD)
def test_doctor_reaches_an_api_on_loopback_with_any_proxy_variables(tmp_path: Path, no_proxy: str) -> None:
    """The API on loopback is ok, since loopback needs no proxy; only the broker is bad."""
    proxies = {"ALL_PROXY": f"ftp://u:{PASSWORD}@h", "NO_PROXY": no_proxy}
    with running_emulator() as emulator:
        code, out, error = done(tmp_path, "doctor", "--json", VBS_ENDPOINT=emulator.url, **proxies)

    findings = json.loads(out)["findings"]
    assert (1, "") == (code, error)
    assert ["broker"] == [each["area"] for each in findings if each["state"] == "bad"]
    assert "ok" in [each["state"] for each in findings if each["area"] == "api"]


@pytest.mark.parametrize(("settings", "named"), UNUSABLE)
def test_doctor_names_the_variable_that_cannot_be_used(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    """An unusable proxy is a bad setting, and the API is reported as not checked."""
    code, out, error = done(tmp_path, "doctor", "--json", VBS_ENDPOINT="https://vbs.example.com", **settings)

    findings = json.loads(out)["findings"]
    assert (2, "") == (code, error)
    assert [named] == [
        each["what"] for each in findings if (each["area"], each["state"]) == ("settings", "bad")
    ]
    assert ["warning"] == [each["state"] for each in findings if each["area"] == "api"]
    assert PASSWORD not in out


def test_doctor_names_the_proxy_that_is_down(tmp_path: Path) -> None:
    """If the proxy is down, the finding names its variable, and the remedy names NO_PROXY."""
    proxy = f"http://u:{PASSWORD}@127.0.0.1:{free_ports(1)[0]}"
    _, out, _ = done(tmp_path, "doctor", "--json", VBS_ENDPOINT="https://vbs.example.com", HTTPS_PROXY=proxy)

    [found] = [each for each in json.loads(out)["findings"] if each["area"] == "api"]
    assert "bad" == found["state"]
    assert "through the proxy of HTTPS_PROXY" in found["text"]
    assert "NO_PROXY" in found["remedy"]
    assert PASSWORD not in out
