"""Unit tests of the doctor's findings for versions, disks and errors that no test server produces."""

import asyncio
from pathlib import Path

import pytest

from handler.broker.difference import Difference, difference
from handler.broker.product import product
from handler.causes import Setting, explain
from handler.doctor.advice import examine_settings
from handler.doctor.broker import version
from handler.doctor.disk import Disk, kind_of
from handler.doctor.findings import Finding, exit_code
from handler.doctor.ledger import disk_findings
from handler.settings import Settings, load_settings

MOUNTS = [
    "overlay / overlay rw 0 0",
    "tmpfs /run tmpfs rw 0 0",
    "server:/export /srv/my\\040ledger nfs4 rw 0 0",
    "/dev/sda1 /srv ext4 rw 0 0",
]


@pytest.mark.parametrize(
    ("properties", "quorum", "state"),
    [
        ({"product": "RabbitMQ", "version": "3.8.35"}, True, "bad"),
        ({"product": "RabbitMQ", "version": "3.8.35"}, False, "ok"),
        ({"product": "RabbitMQ", "version": "3.10.0"}, True, "ok"),
        ({"product": "RabbitMQ", "version": "4.0.5"}, True, "ok"),
        ({"product": "RabbitMQ", "version": "3.9.29"}, True, "bad"),
        ({"product": "LavinMQ", "version": "2.1.0"}, True, "warning"),
        ({"product": "LavinMQ", "version": "2.1.0"}, False, "warning"),
        ({"product": "AMQP-0-9-1", "version": "1.2"}, False, "warning"),
        ({"product": b"RabbitMQ", "version": 3}, True, "warning"),
        ({}, True, "warning"),
    ],
)
def test_the_broker_version_decides_the_finding(
    properties: dict[str, object], quorum: bool, state: str
) -> None:
    """Quorum queues need RabbitMQ 3.10; another product is a warning."""
    found = version(product(properties), quorum=quorum)
    assert state == found.state
    assert state == "ok" or "QUEUE_TYPE=classic" in found.remedy


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/srv/my ledger/a", "nfs4"), ("/srv/other", "ext4"), ("/run/x", "tmpfs"), ("/home", "overlay")],
)
def test_a_folder_s_file_system_is_that_of_its_innermost_mount(folder: str, kind: str) -> None:
    """The innermost mount decides, also if its path has spaces, which /proc/mounts writes in octal."""
    assert kind == kind_of(Path(folder), MOUNTS)


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "bad"), ("cifs", "bad"), ("tmpfs", "warning")])
def test_an_unsafe_file_system_of_the_ledger_is_reported(kind: str, state: str) -> None:
    """A ledger on a network file system is bad, one in memory a warning; the remedy names LEDGER_URL."""
    found = list(disk_findings(Disk(Path("/x"), exists=True, writable=True, kind=kind, free=2**40)))

    assert [state, "ok"] == [each.state for each in found]
    assert "LEDGER_URL" in found[0].remedy


def test_an_ordinary_disk_with_free_space_is_ok() -> None:
    """An ordinary disk has one finding, its free space."""
    found = list(disk_findings(Disk(Path("/x"), exists=True, writable=True, kind="ext4", free=2**40)))

    assert ["ok"] == [each.state for each in found]


def test_a_truncated_error_of_the_broker_is_understood() -> None:
    """Queue and argument are read from a truncated error; another error gives no difference."""
    text = "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' in vhost '/': received the va"

    assert Difference("queue", "q", "x-overflow", "as wanted", "otherwise") == difference(text)
    assert difference("NOT_FOUND - no queue 'q' in vhost '/'") is None


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", "expired"),
        (
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required",
            "client certificate: C",
        ),
        ("an unknown error", "check U"),
    ],
)
def test_a_connection_error_is_explained(problem: str, words: str) -> None:
    """Known errors have a cause and a remedy; an unknown error is shown with the setting to check."""
    assert words in " ".join(explain(Setting("U", "A", "C"), problem))


@pytest.mark.parametrize(
    ("area", "state", "code"),
    [("settings", "bad", 2), ("broker", "bad", 1), ("settings", "warning", 0), ("ledger", "ok", 0)],
)
def test_the_exit_code_depends_on_the_bad_findings(area: str, state: str, code: int) -> None:
    """The exit code is 2 for bad settings, 1 for other bad findings, and 0 with warnings only."""
    assert code == exit_code([Finding(area, "x", state, "y")])  # type: ignore[arg-type] # parametrized text


@pytest.mark.parametrize(("keys", "states"), [("", ["warning"]), ("a-key-of-many-letters", [])])
def test_waiting_messages_without_a_key_are_a_warning(keys: str, states: list[str]) -> None:
    """The doctor warns if STATE_KEYS is empty, and reports nothing if it has a key."""
    settings = load_settings(_env_file=None, ledger_url="none", state_keys=keys, vbs_auth="none")
    found = asyncio.run(_findings(settings))

    assert states == [each.state for each in found if each.what == "STATE_KEYS"]


async def _findings(settings: Settings) -> list[Finding]:
    return [finding async for finding in examine_settings(settings)]
