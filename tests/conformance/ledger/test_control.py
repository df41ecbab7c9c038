"""What operators set for all workers of a queue, and messages that they bring back, over every store."""

import pytest

from handler.backup.ports import Waiting
from handler.ledger.control import Taken, WaitingChoice
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.ledger import StoredLedger

pytestmark = pytest.mark.anyio

FAR = 1e12
"""A time after every record."""


def waiting(
    name: str, *, snapshot: str = "s", reason: str = "retry", seconds: float = 60.0, waits: int = 1
) -> Waiting:
    """Return a waiting message of project ``p``."""
    return Waiting(name, b"old", seconds, reason, waits, "p", snapshot)


async def choose(
    ledger: StoredLedger, project: str | None = None, reason: str | None = None, snapshot: str | None = None
) -> list[Taken]:
    """Return what an operator could bring back."""
    return list(await ledger.choose_waiting(WaitingChoice(100, FAR, project, reason, snapshot)))


async def test_a_pause_is_of_one_queue(ledger: StoredLedger) -> None:
    """A queue is paused with a reason and a time, and another queue of the same ledger is not."""
    await ledger.pause("q", reason="storage is upgraded")
    found = await ledger.control("q")
    assert found.queue
    assert found.queue.reason == "storage is upgraded"
    assert found.queue.since > 1e9
    assert (None, {}, None, 0.0) == await ledger.control("other")


async def test_pauses_of_projects_are_apart_from_that_of_the_queue(ledger: StoredLedger) -> None:
    """Resuming the queue leaves a paused project paused, and the other way round."""
    await ledger.pause("q")
    await ledger.pause("q", "a", "x")
    await ledger.pause("q", "b", "y")
    assert await ledger.resume("q")
    found = await ledger.control("q")
    assert (None, ["a", "b"]) == (found.queue, list(found.projects))
    assert found.paused("a")
    assert not found.paused("c")
    assert await ledger.resume("q", "a")
    assert ["b"] == list((await ledger.control("q")).projects)


async def test_what_is_not_paused_cannot_be_resumed(ledger: StoredLedger) -> None:
    """The ledger says that there was no pause to end."""
    assert not await ledger.resume("q")
    await ledger.pause("q")
    assert not await ledger.resume("q", "a")


async def test_a_second_pause_replaces_the_reason(ledger: StoredLedger) -> None:
    """There is one pause of a queue, with the reason that was given last."""
    await ledger.pause("q", reason="one")
    await ledger.pause("q", reason="two")
    found = await ledger.control("q")
    assert found.queue
    assert "two" == found.queue.reason


async def test_concurrency_is_set_and_unset(ledger: StoredLedger) -> None:
    """The number for all workers holds until each worker's own is wanted again."""
    await ledger.set_concurrency("q", 8)
    await ledger.set_concurrency("q", 5)
    assert 5 == (await ledger.control("q")).concurrency
    await ledger.set_concurrency("q", None)
    await ledger.set_concurrency("q", None)
    assert (await ledger.control("q")).concurrency is None


async def test_only_what_is_still_in_a_wait_queue_can_be_brought_back(ledger: StoredLedger) -> None:
    """A message that is due is on its way already, and may be in hand."""
    await ledger.record_waiting(waiting("due", seconds=-1.0))
    await ledger.record_waiting(waiting("waits"))
    assert ["waits"] == [each.id for each in await choose(ledger)]


async def test_messages_are_chosen_by_what_they_are_about(ledger: StoredLedger) -> None:
    """Project, snapshot and reason choose, and a message that was delayed since is left out."""
    await ledger.record_waiting(waiting("a"))
    await ledger.record_waiting(waiting("b", snapshot="t", reason="room"))
    assert ["b"] == [each.id for each in await choose(ledger, reason="room")]
    assert ["a"] == [each.id for each in await choose(ledger, snapshot="s")]
    assert ["a", "b"] == sorted(each.id for each in await choose(ledger, project="p"))
    assert [] == await choose(ledger, project="q")
    assert [] == list(await ledger.choose_waiting(WaitingChoice(100, 1.0)))


async def test_a_message_that_is_brought_back_is_due_at_once(ledger: StoredLedger) -> None:
    """Its record has the new body and one wait more, so the sweep publishes it if the operator is killed."""
    await ledger.record_waiting(waiting("m"))
    [taken] = await choose(ledger)
    assert await ledger.bring_back(taken, b"new")
    [record] = (await ledger.list_waiting(WaitingFilter(9))).records
    assert 2 == record.waits
    overdue = await ledger.take_overdue(overdue=0.0, limit=9, lease=1.0)
    assert [b"new"] == [each.body for each in overdue or ()]


async def test_a_message_is_brought_back_once(ledger: StoredLedger) -> None:
    """Of two operators who bring the same message back, one does."""
    await ledger.record_waiting(waiting("m"))
    [taken] = await choose(ledger)
    assert [True, False] == [await ledger.bring_back(taken, b"new") for _ in range(2)]


async def test_a_message_that_was_delayed_meanwhile_is_left_alone(ledger: StoredLedger) -> None:
    """The record of the later wait stays, and no copy counts as replaced."""
    await ledger.record_waiting(waiting("m"))
    [taken] = await choose(ledger)
    await ledger.record_waiting(waiting("m", waits=2))
    assert not await ledger.bring_back(taken, b"new")
    assert not await ledger.is_replaced("m", 1)
    assert [b"old"] == [each.body for each in await choose(ledger)]


async def test_the_copy_in_the_wait_queue_is_replaced(ledger: StoredLedger) -> None:
    """The copy with the old number of waits is replaced, the one that was brought back is not."""
    await ledger.record_waiting(waiting("m"))
    [taken] = await choose(ledger)
    await ledger.bring_back(taken, b"new")
    assert [True, False] == [await ledger.is_replaced("m", waits) for waits in (1, 2)]


async def test_workers_know_until_when_replaced_copies_may_come_back(ledger: StoredLedger) -> None:
    """Until a message is replaced there is no such time; then it is a day after that copy is due."""
    await ledger.record_waiting(waiting("m", seconds=600.0))
    assert 0.0 == (await ledger.control("q")).replaced_until
    [taken] = await choose(ledger)
    await ledger.bring_back(taken, b"new")
    assert taken.due_at + 86_400 == (await ledger.control("q")).replaced_until


async def test_a_message_that_was_ended_has_no_record(ledger: StoredLedger) -> None:
    """Its copy in the wait queue is replaced; the record of a later wait would stay."""
    await ledger.record_waiting(waiting("m"))
    [taken] = await choose(ledger)
    await ledger.end_waiting(taken)
    assert [] == await choose(ledger)
    assert await ledger.is_replaced("m", 1)
    await ledger.record_waiting(waiting("m", waits=2))
    await ledger.end_waiting(taken)
    assert ["m"] == [each.id for each in await choose(ledger)]
