"""What every ledger shows the operator about snapshots and waiting messages, over every store."""

import pytest

from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key, Waiting
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.ledger import StoredLedger

pytestmark = pytest.mark.anyio

BACKUP = AcceptedBackup(id="b1", name="nightly")


async def claimed(ledger: StoredLedger, key: Key) -> Granted:
    """Claim a snapshot and return the claim."""
    claim = await ledger.claim(key, "first")
    assert isinstance(claim, Granted)
    return claim


def waiting(
    name: str, project: str, snapshot: str, *, reason: str = "track", seconds: float = 30.0
) -> Waiting:
    """Return a waiting message."""
    return Waiting(name, b"body", seconds, reason, 2, project, snapshot)


async def test_a_snapshot_is_found_with_its_messages(ledger: StoredLedger) -> None:
    """The record has the row and each recorded message of this snapshot, and of no other."""
    key = Key("p", "s")
    await ledger.created(await claimed(ledger, key), BACKUP)
    await claimed(ledger, Key("p", "other"))
    await ledger.record_waiting(waiting("m", "p", "s"))
    await ledger.record_waiting(waiting("n", "p", "other"))
    [found] = await ledger.snapshots("s")
    assert (key, BACKUP) == (found.key, found.row and found.row.backup)
    [message] = found.waiting
    assert ("p", "s", "track", 2, 0) == (*message[:4], message.swept)
    assert 29 < message.due_at - message.recorded_at < 31


async def test_a_snapshot_is_found_in_each_project(ledger: StoredLedger) -> None:
    """Without a project each that has the snapshot is shown, in order; with one only that."""
    for project in ("q", "p"):
        await claimed(ledger, Key(project, "s"))
    assert ["p", "q"] == [each.key.project_id for each in await ledger.snapshots("s")]
    assert ["q"] == [each.key.project_id for each in await ledger.snapshots("s", "q")]
    assert [] == list(await ledger.snapshots("s", "r"))


async def test_a_message_without_a_row_is_found(ledger: StoredLedger) -> None:
    """A snapshot of which only a message waits is known, without a row."""
    await ledger.record_waiting(waiting("m", "p", "s", reason="pause"))
    [found] = await ledger.snapshots("s")
    assert (Key("p", "s"), None, ["pause"]) == (found.key, found.row, [each.reason for each in found.waiting])


async def test_an_inquiry_changes_nothing(ledger: StoredLedger) -> None:
    """A snapshot that was asked for and is not known is not known afterwards either."""
    assert [] == list(await ledger.snapshots("s", "p"))
    assert [] == list(await ledger.snapshots("s"))
    assert 0 == (await ledger.prunable(-1e9)).total


async def test_waiting_messages_are_listed_in_the_order_of_their_time(ledger: StoredLedger) -> None:
    """Those that are due first come first; a limit leaves out the others and counts them."""
    for number in (3, 1, 2):
        await ledger.record_waiting(waiting(str(number), "p", str(number), seconds=10.0 * number))
    found = await ledger.list_waiting(WaitingFilter(2))
    assert (["1", "2"], 3) == ([each.snapshot_id for each in found.records], found.total)
    assert 0 < found.records[0].due_at - found.as_of < 11


async def test_waiting_messages_are_filtered(ledger: StoredLedger) -> None:
    """By project, by reason, and by both; what is left is counted."""
    for name, project, reason in (("a", "p", "track"), ("b", "p", "retry"), ("c", "q", "retry")):
        await ledger.record_waiting(waiting(name, project, name, reason=reason))

    async def listed(project: str | None, reason: str | None) -> set[str | None]:
        found = await ledger.list_waiting(WaitingFilter(10, project, reason))
        assert len(found.records) == found.total
        return {each.snapshot_id for each in found.records}

    assert {"a", "b"} == await listed("p", None)
    assert {"b", "c"} == await listed(None, "retry")
    assert {"b"} == await listed("p", "retry")
