"""The slots of backups in progress, over every store: each counts once, and until its backup has ended."""

import asyncio
from collections.abc import Sequence

import pytest

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Created, Doubt, Finished, Full, Granted, Key, Waiting
from handler.backup.running import Limit, Room
from handler.ledger.ledger import StoredLedger
from handler.ledger.room import Running, RunningSummary
from handler.ledger.stores import open_ledger
from tests.conformance.ledger.conftest import Opener

pytestmark = pytest.mark.anyio

KEY = Key("project", "first")
OTHER = Key("project", "second")
BACKUP = AcceptedBackup(id="b1")
DONE = Finished(backup=CompletedBackup(id="b1", status="available"))
BROKEN = Finished(failure=Failure(category=Category.BACKUP_ERROR, message="broken"))
LATE = Finished(failure=Failure(category=Category.EXPIRED, message="late"))
NO = Failure(category=Category.REFUSED, message="no")
DOUBT = Doubt(since=1.0, lookups=0, lookup_after=1.0)
ROOM = Room((Limit("all", 1),), hold=100.0, delays=(1, 2), returned=True)


async def claimed(ledger: StoredLedger, key: Key = KEY, room: Room = ROOM) -> Granted:
    """Claim a snapshot that must get a slot."""
    claim = await ledger.claim(key, "cause", room=room)
    assert isinstance(claim, Granted)
    return claim


async def is_free(ledger: StoredLedger) -> bool:
    """Return whether another snapshot gets a slot."""
    return isinstance(await ledger.claim(OTHER, "cause", room=ROOM), Granted)


async def slots(ledger: StoredLedger) -> int:
    """Return how many slots the ledger counts."""
    return sum(group.slots for group in (await ledger.running()).groups.values())


async def test_a_second_claim_is_full(ledger: StoredLedger) -> None:
    """Where the one slot is taken, another snapshot is answered when to ask again, and nothing is claimed."""
    await claimed(ledger)

    answer = await ledger.claim(OTHER, "cause", room=ROOM)

    assert isinstance(answer, Full)
    assert answer.seconds in ROOM.delays
    assert await ledger.look_up(OTHER) is None
    assert 1 == await slots(ledger)


async def test_a_call_in_doubt_keeps_its_slot(ledger: StoredLedger) -> None:
    """A claim in doubt, and a backup that was made, count until their end."""
    await ledger.doubt(await claimed(ledger), DOUBT)
    assert not await is_free(ledger)

    await ledger.created(await claimed(ledger), BACKUP)
    assert not await is_free(ledger)
    assert isinstance(await ledger.claim(KEY, "cause", room=ROOM), Created)


@pytest.mark.parametrize("end", [DONE, BROKEN, LATE], ids=["completed", "in error", "expired"])
async def test_the_end_frees_the_slot(ledger: StoredLedger, end: Finished) -> None:
    """Whatever the end of a backup, its slot is free."""
    await ledger.created(await claimed(ledger), BACKUP)
    await ledger.finished(KEY, end, backup_id="b1", cause="cause")

    assert 0 == await slots(ledger)
    assert await is_free(ledger)


async def test_a_claim_that_is_given_back_frees_the_slot(ledger: StoredLedger) -> None:
    """A released or refused claim has no slot."""
    await ledger.release(await claimed(ledger))
    assert 0 == await slots(ledger)

    await ledger.refused(await claimed(ledger), "cause", NO, attempts=1)
    assert 0 == await slots(ledger)


async def test_an_event_that_is_given_up_frees_the_slot(ledger: StoredLedger) -> None:
    """The final delivery of a tracked message ends its event, and its slot."""
    await ledger.created(await claimed(ledger), BACKUP)
    await ledger.give_up(KEY, "cause", NO, attempts=1, tracked=True)

    assert 0 == await slots(ledger)


async def test_a_slot_ends_by_itself(ledger: StoredLedger) -> None:
    """A slot whose message is lost is free after its time."""
    await ledger.doubt(await claimed(ledger, room=ROOM._replace(hold=0.05)), DOUBT)
    await asyncio.sleep(0.1)

    assert await is_free(ledger)


async def test_a_call_in_doubt_is_never_full(ledger: StoredLedger) -> None:
    """A claim in doubt, and one that is forced, counts beyond the limit: its request may have left."""
    await claimed(ledger)
    await ledger.doubt(await claimed(ledger, OTHER, ROOM._replace(forced=True)), DOUBT)

    assert 2 == await slots(ledger)


async def test_a_tracked_backup_gets_a_slot(ledger: StoredLedger) -> None:
    """A backup that was made while there was no limit counts from its tracking on."""
    claim = await ledger.claim(KEY, "cause")
    assert isinstance(claim, Granted)
    await ledger.created(claim, BACKUP)
    assert 0 == await slots(ledger)

    await ledger.claim(KEY, "cause", room=ROOM._replace(tracked=True))

    assert 1 == await slots(ledger)
    assert not await is_free(ledger)


async def test_claims_at_once_share_the_slots(opener: Opener) -> None:
    """Of 40 claims at once as many are granted as there are slots in the smallest group."""
    ledger = opener(60.0)
    room = ROOM._replace(limits=(Limit("all", 5), Limit("few", 7)))

    answers: Sequence[object] = await asyncio.gather(
        *(ledger.claim(Key(f"p{number % 3}", str(number)), "cause", room=room) for number in range(40))
    )

    assert 5 == sum(isinstance(answer, Granted) for answer in answers)
    found = (await ledger.running()).groups
    assert {"all": Running(5, 0), "few": Running(5, 0)} == found


async def test_workers_at_once_share_the_slots(shared_url: str) -> None:
    """Of 60 claims at once of three workers as many are granted as there are slots."""
    ledgers = [open_ledger(shared_url, lease_seconds=60.0) for _ in range(3)]
    room = ROOM._replace(limits=(Limit("all", 5),))
    try:
        answers: Sequence[object] = await asyncio.gather(
            *(
                ledgers[number % 3].claim(Key(f"p{number % 4}", str(number)), "c", room=room)
                for number in range(60)
            )
        )
        assert 5 == sum(isinstance(answer, Granted) for answer in answers)
        assert 5 == await slots(ledgers[0])
    finally:
        for each in ledgers:
            await each.aclose()


async def test_messages_that_wait_for_room_are_counted(ledger: StoredLedger) -> None:
    """The ledger knows how many messages wait for room."""
    if not ledger.records_waiting:
        pytest.skip("this ledger records no waiting messages")
    await ledger.record_waiting(Waiting("1", b"b", 5.0, "room", 1))
    await ledger.record_waiting(Waiting("2", b"b", 5.0, "track", 1))

    assert RunningSummary({}, 1) == await ledger.running()
