"""What the doctor makes of sentences and figures that no server here gives."""

from pathlib import Path

import pytest

from handler.broker.difference import Difference, difference
from handler.doctor.broker import version
from handler.doctor.causes import Setting, explain
from handler.doctor.disk import Disk, kind_of
from handler.doctor.findings import Finding, exit_code
from handler.doctor.ledger import disk_findings

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
        ({"product": "AMQP-0-9-1", "version": "1.2"}, False, "warning"),
        ({}, True, "warning"),
    ],
)
def test_the_broker_s_version(properties: dict[str, str], quorum: bool, state: str) -> None:
    """Quorum queues that lose nothing exist from 3.10 on; other products are unknown."""
    assert state == version(properties, quorum=quorum).state


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/srv/my ledger/a", "nfs4"), ("/srv/other", "ext4"), ("/run/x", "tmpfs"), ("/home", "overlay")],
)
def test_a_folder_s_file_system_is_that_of_its_innermost_mount(folder: str, kind: str) -> None:
    """Blanks in mount points are written in octal."""
    assert kind == kind_of(Path(folder), MOUNTS)


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "bad"), ("cifs", "bad"), ("tmpfs", "warning")])
def test_file_systems_that_keep_no_promises(kind: str, state: str) -> None:
    """SQLite's log does not work over a network; what is in memory is gone at the next start."""
    found = list(disk_findings(Disk(Path("/x"), exists=True, writable=True, kind=kind, free=2**40)))

    assert [state, "ok"] == [each.state for each in found]
    assert "LEDGER_URL" in found[0].remedy


def test_an_ordinary_disk_with_room_is_fine() -> None:
    """Nothing to say but how much is free."""
    found = list(disk_findings(Disk(Path("/x"), exists=True, writable=True, kind="ext4", free=2**40)))

    assert ["ok"] == [each.state for each in found]


def test_a_sentence_of_the_broker_that_was_cut_off() -> None:
    """It has 255 bytes; the argument and the queue come first."""
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
        ("something that nobody has thought of", "check U"),
    ],
)
def test_causes_of_a_connection_that_was_not_made(problem: str, words: str) -> None:
    """Each says what to do, and what nobody knows is told as it is."""
    assert words in " ".join(explain(Setting("U", "A", "C"), problem))


@pytest.mark.parametrize(
    ("area", "state", "code"),
    [("settings", "bad", 2), ("broker", "bad", 1), ("settings", "warning", 0), ("ledger", "ok", 0)],
)
def test_exit_codes(area: str, state: str, code: int) -> None:
    """2 for settings, 1 for what loses or blocks messages, 0 with warnings."""
    assert code == exit_code([Finding(area, "x", state, "y")])  # type: ignore[arg-type] # parametrized text
