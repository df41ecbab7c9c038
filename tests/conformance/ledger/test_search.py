"""Searches for ids that are no keys of the ledger, over every store."""

import json

import pytest

from events.outcome import AcceptedBackup, Category, Failure
from handler.backup.ports import Granted, Key, Waiting
from handler.ledger.ledger import StoredLedger
from handler.ledger.search import Slice, slice_at

pytestmark = pytest.mark.anyio
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"


async def granted(ledger: StoredLedger, number: int) -> Granted:
    """Claim a numbered snapshot."""
    claim = await ledger.claim(Key("p", f"s{number}"), f"event-{number}")
    assert isinstance(claim, Granted)
    return claim


async def found(ledger: StoredLedger, text: str) -> list[str]:
    """Return the snapshots that are found, by going on to the end."""
    keys, which = [], Slice(text)
    while True:
        done = await ledger.search(which, seconds=60.0)
        keys += [key.snapshot_id for key in done.keys]
        if done.rest is None:
            return sorted(set(keys))
        which = slice_at(text, done.rest.to_text())


async def test_a_snapshot_is_found_by_its_backup_and_by_an_event_that_failed(ledger: StoredLedger) -> None:
    """An id is found whole: one that only begins or ends as another does not find that one."""
    for number in range(12):
        await ledger.created(await granted(ledger, number), AcceptedBackup(id=f"backup-{number}"))
    failure = Failure(category=Category.QUOTA, message="no room")
    await ledger.refused(await granted(ledger, 20), 'event-"20', failure, attempts=1)
    await ledger.refused(await granted(ledger, 21), "event-21#replay", failure, attempts=1)

    assert ["s1"] == await found(ledger, "backup-1")
    assert ["s11"] == await found(ledger, "backup-11")
    assert ["s20"] == await found(ledger, 'event-"20')
    assert ["s21"] == await found(ledger, "event-21")
    assert [] == await found(ledger, "ackup-1")
    assert [] == await found(ledger, "%' OR 1=1")


async def test_a_snapshot_is_found_by_its_volume_while_its_message_waits(ledger: StoredLedger) -> None:
    """The bodies of waiting messages are searched: two snapshots of the volume wait."""
    for name in ("s1", "s2", "s3"):
        event = json.dumps({"volume_id": "another" if name == "s3" else VOLUME})
        body = json.dumps({"data": {"body": event}}).encode()
        await ledger.record_waiting(Waiting(f"m-{name}", body, 60.0, "retry", 1, "p", name))

    assert ["s1", "s2"] == await found(ledger, VOLUME)


async def test_every_row_is_read_once_whatever_the_size_of_a_slice(
    ledger: StoredLedger,
) -> None:
    """Slices of 3 rows, of which several have changed at one time, miss none."""
    for number in range(10):
        await ledger.created(await granted(ledger, number), AcceptedBackup(id=f"backup-{number}"))

    for number in range(10):
        done = await ledger.search(Slice(f"backup-{number}", limit=3, glanced=True), seconds=60.0)
        assert [f"s{number}"] == [key.snapshot_id for key in done.keys]


async def test_a_search_goes_on_within_what_waits(ledger: StoredLedger) -> None:
    """More messages wait than a slice has: the next slice begins after the id of its last message."""
    for number in range(5):
        body = json.dumps({"data": {"volume_id": VOLUME if number == 4 else "another"}}).encode()
        await ledger.record_waiting(Waiting(f"m-{number}", body, 60.0, "retry", 1, "p", f"s{number}"))

    done = await ledger.search(Slice(VOLUME, limit=2, glanced=True), seconds=60.0)
    assert ["s4"] == [key.snapshot_id for key in done.keys]


async def test_a_search_ends_after_its_time_and_goes_on(ledger: StoredLedger) -> None:
    """Without time one slice is read, and the answer says where the next one begins."""
    await ledger.created(await granted(ledger, 1), AcceptedBackup(id="backup-1"))
    first = await ledger.search(Slice("backup-1", glanced=True), seconds=-1.0)

    assert ([], "claimed") == (list(first.keys), first.rest and first.rest.place)


async def test_what_is_new_is_found_first(ledger: StoredLedger) -> None:
    """The newest rows of every place are read before the older ones of any."""
    await ledger.created(await granted(ledger, 1), AcceptedBackup(id="backup-1"))
    done = await ledger.search(Slice("backup-1"), seconds=-1.0)

    assert (["s1"], "waiting@") == ([key.snapshot_id for key in done.keys], done.rest and done.rest.to_text())


@pytest.mark.parametrize("at", ["", "waiting", "nowhere@1", "completed@x", "completed@nan", "waiting@\x00"])
def test_a_place_that_no_search_has_named_is_refused(at: str) -> None:
    """What is not from an earlier answer is an error, not a search of all."""
    with pytest.raises(ValueError, match="earlier answer"):
        slice_at("backup-1", at)
