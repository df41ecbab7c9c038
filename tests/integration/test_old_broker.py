"""A real broker that says it is RabbitMQ 3.8: the commands and the function end, and name the remedy."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from handler.errors import SettingsError
from handler.function import entry
from infra.emulator.testing import Emulator, running_emulator
from infra.local.broker import Broker
from tests.chaos.site import Site, many
from tests.proxy import TcpProxy
from tests.twins.context import FakeContext
from tests.twins.events import cloud_event

pytestmark = pytest.mark.broker


@pytest.fixture
def old(broker: Broker) -> Iterator[tuple[str, str]]:
    """Yield the address of a proxy that changes the broker's version on its way, and that version."""
    now = broker.version.split()[-1]
    before = f"3.8.{'35'[: len(now) - 4]}" if len(now) > 4 else "3.8"
    parts = urlsplit(broker.url)
    with TcpProxy(parts.hostname or "", parts.port or 5672) as proxy:
        proxy.rewrite(now.encode(), before.encode())
        address = f"{parts.username}:{parts.password}@{proxy.host}:{proxy.port}"
        yield f"amqp://{address}{parts.path or '/'}", before


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an API."""
    with running_emulator() as running:
        yield running


def _site(amqp_url: str, url: str, emulator: Emulator, folder: Path, unique: str) -> Site:
    """Return a site whose programs reach the broker at ``url``."""
    return Site(amqp_url, emulator, folder, unique, {"AMQP_URL": url})


@pytest.mark.parametrize(
    ("command", "code", "begins"),
    [
        ("worker", 2, "settings: QUEUE_TYPE: "),
        ("topology declare", 1, "failed: QUEUE_TYPE: "),
        ("publish --volume-id {id} --snapshot-id {id} --project-id p", 1, "failed: QUEUE_TYPE: "),
    ],
)
def test_a_command_ends_and_names_the_remedy(
    old: tuple[str, str],
    amqp_url: str,
    emulator: Emulator,
    unique: str,
    tmp_path: Path,
    command: str,
    code: int,
    begins: str,
) -> None:
    """Each program ends at once with one line that names the version and QUEUE_TYPE=classic."""
    url, version = old
    with _site(amqp_url, url, emulator, tmp_path, unique) as site:
        done = site.run(*command.format(id="7f0fd3f5-0f2a-4a1c-9a87-0d8d2f9e6a5b").split())
    assert code == done.returncode, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"{begins}RabbitMQ {version} has no quorum queues"), done.stderr
    assert "set QUEUE_TYPE=classic" in line


def test_the_doctor_names_the_remedy(
    old: tuple[str, str], amqp_url: str, emulator: Emulator, unique: str, tmp_path: Path
) -> None:
    """The doctor's finding on the version is bad, and its remedy is QUEUE_TYPE=classic."""
    with _site(amqp_url, old[0], emulator, tmp_path, unique) as site:
        done = site.run("doctor")
    assert 1 == done.returncode
    text = " ".join(done.stdout.split())
    assert f"RabbitMQ {old[1]} has no quorum queues" in text
    assert "set QUEUE_TYPE=classic" in text


def test_the_function_ends_and_names_the_remedy(
    old: tuple[str, str], amqp_url: str, emulator: Emulator, unique: str, tmp_path: Path
) -> None:
    """A call of the function raises ``SettingsError`` with that line, so that its log has it."""
    with _site(amqp_url, old[0], emulator, tmp_path, unique) as site:
        try:
            with pytest.raises(SettingsError, match=r"QUEUE_TYPE: RabbitMQ .* set QUEUE_TYPE=classic"):
                entry.handler(cloud_event(1), FakeContext(site.environment))
        finally:
            entry.close()


def test_a_worker_with_classic_queues_works_on_it(
    old: tuple[str, str], amqp_url: str, emulator: Emulator, unique: str, tmp_path: Path
) -> None:
    """With QUEUE_TYPE=classic a worker handles events on a broker that says it is 3.8."""
    settings = {"AMQP_URL": old[0], "QUEUE_TYPE": "classic"}
    with Site(amqp_url, emulator, tmp_path, unique, settings) as site:
        site.start_worker()
        site.ask(dict(many(0, 10)))
        site.wait_until_ended(seconds=30)
        site.judge("classic on 3.8")
