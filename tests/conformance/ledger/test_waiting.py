"""What every ledger promises about waiting messages, over every store."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from events.outcome import AcceptedBackup, CompletedBackup
from handler.backup.ports import Created, Doubt, Finished, Granted, Key, Waiting
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger
from handler.ledger.pruning import UNSETTLED_SECONDS
from handler.ledger.stores import open_ledger
from handler.ledger.waiting import FIRST_INTERVAL, LONGEST_INTERVAL, Overdue, next_sweep
from tests.conformance.ledger.conftest import LONG
from tests.patience import patient
from tests.twins.clock import Clock

pytestmark = pytest.mark.anyio

LEASE = 60.0
GONE = -1.0
"""A delay that is over already, for stores whose clock is the database's."""


def waiting(
    name: str = "m", *, seconds: float = GONE, waits: int = 1, body: bytes = b"\x00body\xff"
) -> Waiting:
    """Return a waiting message of its own snapshot."""
    return Waiting(name, body, seconds, "track", waits, "project", f"snapshot-{name}")


async def take(
    ledger: StoredLedger, *, overdue: float = 0.5, limit: int = 100, lease: float = LEASE
) -> list[Overdue] | None:
    """Take overdue messages as a sweep does."""
    taken = await ledger.take_overdue(overdue=overdue, limit=limit, lease=lease)
    return None if taken is None else list(taken)


async def names(ledger: StoredLedger, **how: float) -> list[str]:
    """Take overdue messages and return their names."""
    return [each.id for each in await take(ledger, **how) or ()]  # type: ignore[arg-type]


async def test_an_overdue_message_is_taken_as_it_was_published(ledger: StoredLedger) -> None:
    """The sweep gets the recorded body byte for byte, with what it is about."""
    await ledger.record_waiting(waiting())
    [taken] = await take(ledger) or []
    assert (b"\x00body\xff", "track", 0) == (bytes(taken.body), taken.reason, taken.swept)
    assert ("project", "snapshot-m") == (taken.project_id, taken.snapshot_id)
    assert abs(taken.due_at - time.time() + 1) < 10


async def test_a_message_that_is_not_due_stays(ledger: StoredLedger) -> None:
    """A message is taken neither before it is due, nor before it is overdue for long enough."""
    await ledger.record_waiting(waiting("later", seconds=30.0))
    await ledger.record_waiting(waiting("now"))
    assert [] == await names(ledger, overdue=20.0)
    assert ["now"] == await names(ledger)


async def test_a_taken_message_is_not_taken_again_at_once(ledger: StoredLedger) -> None:
    """A sweep that dies after it took a message loses nothing, and the next one takes it later."""
    await ledger.record_waiting(waiting())
    assert ["m"] == await names(ledger)
    assert [] == await names(ledger)
    summary = await ledger.waiting(overdue=0.5, longest=3600.0)
    assert (1, 1) == (summary.total, summary.overdue)


async def test_overdue_messages_are_counted_by_delay_until_they_are_taken(ledger: StoredLedger) -> None:
    """What is not due, and what a sweep has just published again, does not count."""
    await ledger.record_waiting(waiting())
    await ledger.record_waiting(waiting("later", seconds=60.0))
    delay = round(waiting().seconds)
    assert {delay: 1} == await ledger.overdue_by_delay(0.5)
    await take(ledger)
    assert {} == await ledger.overdue_by_delay(0.5)


async def test_the_time_until_a_message_is_taken_again_grows() -> None:
    """The intervals double up to the longest, also after a year of sweeps."""
    assert FIRST_INTERVAL == next_sweep(0.0, 0)
    assert 2 * FIRST_INTERVAL == next_sweep(0.0, 1)
    assert LONGEST_INTERVAL == next_sweep(0.0, 100) == next_sweep(0.0, 100_000)


async def test_a_message_that_waits_again_is_recorded_in_its_place(ledger: StoredLedger) -> None:
    """One record a message: the latest delay counts, and the sweeps before are forgotten."""
    await ledger.record_waiting(waiting())
    await take(ledger)
    await ledger.record_waiting(waiting(waits=2, body=b"second"))
    [taken] = await take(ledger) or []
    assert (b"second", 0) == (bytes(taken.body), taken.swept)
    assert 1 == (await ledger.waiting(overdue=0.5, longest=3600.0)).total


async def test_an_ended_message_is_forgotten(ledger: StoredLedger) -> None:
    """After its event has ended nothing is taken; to forget it twice does no harm."""
    await ledger.record_waiting(waiting())
    await ledger.record_waiting(waiting("other"))
    for _ in range(2):
        await ledger.forget_waiting("m")
    assert ["other"] == await names(ledger)


async def test_messages_are_taken_in_the_order_of_their_time(ledger: StoredLedger) -> None:
    """A batch has the messages that are overdue for longest, and the next batch the others."""
    for number in range(5):
        await ledger.record_waiting(waiting(str(number), seconds=-10.0 * (5 - number)))
    assert ["0", "1", "2"] == await names(ledger, limit=3)
    assert ["3", "4"] == await names(ledger, limit=3)


async def test_a_copy_behind_another_is_not_recorded(ledger: StoredLedger) -> None:
    """A copy that has waited no more often than the one that waits now is told so, and may be dropped."""
    assert await ledger.record_waiting(waiting(seconds=30.0, waits=3, body=b"ahead"), drop_copy=True)
    assert not await ledger.record_waiting(waiting(waits=3), drop_copy=True)
    assert not await ledger.record_waiting(waiting(waits=2), drop_copy=True)
    assert [] == await names(ledger), "the copy behind has replaced the one ahead"


async def test_a_copy_ahead_or_alone_is_recorded(ledger: StoredLedger) -> None:
    """A copy is not dropped for one that is overdue or has waited less often, nor if it is redelivered."""
    await ledger.record_waiting(waiting(waits=3))
    assert await ledger.record_waiting(waiting(waits=3, seconds=30.0), drop_copy=True), "that one is overdue"
    assert await ledger.record_waiting(waiting(waits=4, seconds=30.0), drop_copy=True), "this one is ahead"
    assert await ledger.record_waiting(waiting(waits=1), drop_copy=False)


async def test_of_copies_at_the_same_time_one_goes_on(ledger: StoredLedger) -> None:
    """Of ten copies of a message that arrive together, one is recorded, and nine may be dropped."""
    kept = await asyncio.gather(
        *(ledger.record_waiting(waiting(seconds=30.0, waits=2), drop_copy=True) for _ in range(10))
    )
    assert 1 == kept.count(True)


async def test_a_message_without_a_snapshot_is_recorded_too(ledger: StoredLedger) -> None:
    """A message that is not parsed, such as a parked one, is taken up again as well."""
    await ledger.record_waiting(Waiting("bare", b"b", GONE, "pause", 1))
    [taken] = await take(ledger) or []
    assert (None, None) == (taken.project_id, taken.snapshot_id)


async def test_many_messages_are_recorded_at_once(ledger: StoredLedger) -> None:
    """Records and their deletion share commits with claims."""
    many = [waiting(str(number)) for number in range(50)]
    await asyncio.gather(
        *(ledger.record_waiting(each) for each in many), ledger.claim(Key("project", "other"), "cause")
    )
    await asyncio.gather(*(ledger.forget_waiting(each.id) for each in many[10:]))
    assert sorted(map(str, range(10))) == sorted(await names(ledger))


@pytest.fixture
async def two(shared_url: str) -> AsyncIterator[tuple[StoredLedger, StoredLedger]]:
    """The ledgers of two processes that share a store."""
    async with AsyncExitStack() as stack:
        ledgers = [open_ledger(shared_url, lease_seconds=LONG) for _ in range(2)]
        for each in ledgers:
            stack.push_async_callback(each.aclose)
        yield ledgers[0], ledgers[1]


async def test_one_of_two_processes_sweeps(two: tuple[StoredLedger, StoredLedger]) -> None:
    """While one process holds the sweep, another one gets nothing."""
    first, second = two
    for number in range(20):
        await first.record_waiting(waiting(str(number)))
    assert 5 == len(await take(first, limit=5) or ())
    assert await take(second) is None
    assert 15 == len(await take(first) or ())


async def test_the_sweep_of_a_dead_process_is_taken_over(two: tuple[StoredLedger, StoredLedger]) -> None:
    """When the lease has ended another process sweeps, and takes what the first one did not."""
    first, second = two
    for number in range(4):
        await first.record_waiting(waiting(str(number)))
    assert 2 == len(await take(first, limit=2, lease=0.2) or ())
    deadline = time.monotonic() + patient(10)
    while (taken := await take(second)) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert 2 == len(taken)
    assert await take(first) is None


async def test_a_prune_keeps_a_snapshot_whose_message_waits(opener: Callable[[float], StoredLedger]) -> None:
    """While a message about a snapshot waits, its row stays whatever its age, and so does the record."""
    ledger = opener(LONG)
    done = Finished(backup=CompletedBackup(id="b", status="available"))
    for name in ("waits", "done"):
        await ledger.finished(Key("project", f"snapshot-{name}"), done, backup_id="b", cause="c")
    await ledger.record_waiting(waiting("waits"))
    assert 1 == (await ledger.prunable(0.0)).total
    assert 1 == await ledger.prune(0.0)
    assert await ledger.look_up(Key("project", "snapshot-waits"))
    assert ["waits"] == await names(ledger)


async def test_a_prune_deletes_records_that_nobody_takes_up() -> None:
    """A message that has been due for longer than rows without an end are kept is forgotten."""
    clock = Clock(1_000_000.0)
    ledger = MemoryLedger(clock)
    await ledger.record_waiting(waiting())
    clock.advance(29 * 86_400.0)
    await ledger.prune(86_400.0)
    assert 1 == (await ledger.waiting(overdue=1.0, longest=1.0)).total
    clock.advance(2 * 86_400.0)
    await ledger.prune(86_400.0)
    assert 0 == (await ledger.waiting(overdue=1.0, longest=1.0)).total


async def test_a_prune_deletes_old_records_whether_they_were_swept_or_not(ledger: StoredLedger) -> None:
    """A sweep puts off when it publishes a message again, not when the message was due."""
    await ledger.record_waiting(waiting("swept"))
    assert ["swept"] == await names(ledger)
    await ledger.record_waiting(waiting("never swept"))
    await ledger.record_waiting(waiting("due later", seconds=FIRST_INTERVAL))
    await ledger.prune(0.0, as_of=time.time() + UNSETTLED_SECONDS + FIRST_INTERVAL / 2)
    found = (await ledger.list_waiting(WaitingFilter(9))).records
    assert ["snapshot-due later"] == [each.snapshot_id for each in found]


async def test_a_snapshot_without_end_and_without_message_is_stranded() -> None:
    """A claimed, doubtful or created snapshot without a recorded message is found; an ended one is not."""
    clock = Clock(1_000_000.0)
    ledger = MemoryLedger(clock)

    async def claimed(name: str) -> Granted:
        claim = await ledger.claim(Key("project", f"snapshot-{name}"), "cause")
        assert isinstance(claim, Granted)
        return claim

    await claimed("claimed")
    await ledger.doubt(await claimed("doubt"), Doubt(1.0, 0, 2.0))
    for name in ("created", "waits", "done"):
        await ledger.created(await claimed(name), AcceptedBackup(id=name))
    await ledger.record_waiting(waiting("waits"))
    done = Finished(backup=CompletedBackup(id="done", status="available"))
    await ledger.finished(Key("project", "snapshot-done"), done, backup_id="done", cause="cause")
    assert () == tuple((await ledger.waiting(overdue=1.0, longest=3600.0)).stranded), "not for long enough"
    clock.advance(3700.0)
    found = (await ledger.waiting(overdue=1.0, longest=3600.0)).stranded
    assert ["claimed", "created", "doubt"] == sorted(
        key.snapshot_id.removeprefix("snapshot-") for key in found
    )


async def test_no_ledger_records_nothing() -> None:
    """With ``LEDGER_URL=none`` nothing is recorded, since it would be lost with the process."""
    ledger = open_ledger("none", lease_seconds=LONG)
    assert await ledger.record_waiting(waiting(), drop_copy=True)
    assert [] == await names(ledger)
    assert not ledger.records_waiting
    await ledger.forget_waiting("m")
    await ledger.aclose()


async def test_a_tracked_backup_is_answered_as_before(ledger: StoredLedger) -> None:
    """A record changes no answer to a claim."""
    claim = await ledger.claim(Key("project", "snapshot-m"), "cause")
    assert isinstance(claim, Granted)
    await ledger.created(claim, AcceptedBackup(id="b"))
    await ledger.record_waiting(waiting())
    assert isinstance(await ledger.claim(Key("project", "snapshot-m"), "cause"), Created)
