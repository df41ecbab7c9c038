"""Tests of what brings waiting messages back and cancels them: one outcome and one dead letter each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from events.message import Message
from events.outcome import CONTENT_TYPE, BackupFailed, Category
from handler.backup.control import Control, Pause
from handler.backup.ports import Key
from handler.backup.services import Services
from handler.broker.outbox import BrokerOutbox
from handler.console.waiting import Cancelled, Retried, Waits, Which, cancel, retry_now
from handler.errors import ApiError, ConnectionLost, Unroutable
from handler.ledger.ledger import StoredLedger
from tests.twins.api import CutAfter
from tests.twins.broker import MemoryBroker
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.world import World, with_limits
from tests.unit.backup.handling import MADE, UNAVAILABLE, replayed, run

SNAPSHOT = made_up_id("snapshot", 1)
BUSY = ApiError(Category.CONFLICT, "busy", status=409)
REFUSED = ApiError(Category.REFUSED, "no", status=400)
EVERYTHING = Which()
LONG = 1000.0


class Outbox:
    """An operator's connection to the broker, which may be lost, or have no queue for outcomes."""

    def __init__(self, broker: MemoryBroker, error: Exception | None = None) -> None:
        self._broker = broker
        self._error = error

    async def return_to_queue(self, body: bytes) -> None:
        """Publish a message to the queue."""
        self._fail()
        self._broker.publish(Message(body, CONTENT_TYPE))

    async def publish_outcome(self, outcome: Any) -> None:
        """Publish an outcome."""
        self._fail()
        await self._broker.publish_outcome(outcome)

    async def dead_letter(self, original: Message, reason: Any) -> None:
        """Publish a dead letter."""
        await self._broker.dead_letter(original, reason)

    def _fail(self) -> None:
        if self._error:
            raise self._error


@dataclass
class OperatedWorld(World):
    """A world whose messages wait for a minute or ten, and in which an operator acts."""

    settings: Any = field(default_factory=lambda: with_limits(delays=(60, 600)))
    control: Control | None = None
    """What the process knows of the operator; None: what the ledger has."""

    def services(self, ledger: StoredLedger | None = None) -> Services:
        """Return services that know what the operator has set."""
        return super().services(ledger)._replace(control=lambda: self.known)

    @property
    def known(self) -> Control:
        """What the process knows: copies may come back at any time."""
        return (self.control or Control())._replace(replaced_until=1e12)

    def waits(self, error: Exception | None = None) -> Waits:
        """Return what an operator works with."""
        outbox = cast("BrokerOutbox", Outbox(self.broker, error))
        return Waits(self.ledger, outbox, self.keys, self.settings.queue)

    async def retry(self, which: Which = EVERYTHING) -> Retried:
        """Bring messages back."""
        return await retry_now(self.waits(), which)

    async def cancel(self, error: Exception | None = None) -> Sequence[Cancelled]:
        """Cancel the messages of the first snapshot."""
        return await cancel(self.waits(error), SNAPSHOT)

    async def delayed(self, *faults: ApiError | CutAfter) -> None:
        """Handle the first event, whose request has these faults, so that its message waits."""
        self.api.fail("create", *faults)
        self.broker.publish(message(1))
        await self.deliver()
        assert not self.broker.ready
        assert [] == list(self.published())

    def ended(self) -> tuple[Sequence[str], int, int]:
        """Return the outcomes, the dead letters and the backups."""
        return list(self.published()), len(self.broker.dead), len(self.api.backups)


def test_a_message_that_is_brought_back_is_handled_at_once() -> None:
    """It needs no time to pass, and the copy that comes back later publishes nothing."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        assert Retried(1) == await world.retry()
        assert Retried(0) == await world.retry()
        await world.deliver()
        assert ["backup.accepted"] == list(world.published())
        await world.until_quiet()

    run(body)
    assert (MADE, 0, 1) == world.ended()


def test_a_message_that_fails_after_it_was_brought_back_is_one_dead_letter() -> None:
    """The copy in the wait queue would publish the failure again, and dead-letter the message twice."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY, REFUSED)
        await world.retry()
        await world.until_quiet()

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()


def test_a_copy_that_comes_back_while_the_message_waits_again_is_dropped() -> None:
    """Otherwise it would be delayed as if it were the message, and end the event a second time."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(UNAVAILABLE, UNAVAILABLE, REFUSED)
        await world.retry()
        await world.until_quiet()

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()


def test_an_operator_who_is_killed_before_the_publish_loses_nothing() -> None:
    """The message is recorded as due, so the sweep publishes it; the copy is dropped all the same."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        with pytest.raises(ConnectionLost):
            await retry_now(world.waits(ConnectionLost("killed")), EVERYTHING)
        await world.until_swept()

    run(body)
    assert (MADE, 0, 1) == world.ended()


@pytest.mark.parametrize(
    ("which", "returned"),
    [
        (Which([SNAPSHOT]), 1),
        (Which([SNAPSHOT, "other"]), 1),
        (Which(["other"]), 0),
        (Which([]), 0),
        (Which(project=PROJECT), 1),
        (Which(project="other"), 0),
        (Which(reason="retry"), 1),
        (Which(reason="track"), 0),
    ],
)
def test_only_what_was_chosen_is_brought_back(which: Which, returned: int) -> None:
    """Snapshots, project and reason choose; no snapshots are not all of them."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        assert Retried(returned) == await world.retry(which)

    run(body)


def test_more_messages_than_a_batch_are_brought_back_once_each() -> None:
    """Batches follow one another until none is left, and what is not authentic is left where it is."""
    world = OperatedWorld(control=Control(Pause(1.0)))

    async def body() -> None:
        for number in range(450):
            world.broker.publish(message(number))
        while world.broker.ready:
            await world.deliver(50)
        waits = world.waits()._replace(keys=world.keys and world.keys._replace(keys=(b"other" * 8,)))
        assert Retried(0, 450) == await retry_now(waits, EVERYTHING)
        assert Retried(450) == await world.retry()
        assert 450 == len(world.broker.ready)

    run(body)


def test_a_call_in_doubt_is_not_looked_up_earlier() -> None:
    """A lookup that comes too early proves little: the message waits again, and no request is sent."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(CutAfter())
        calls = dict(world.api.calls)
        await world.retry()
        await world.deliver()
        assert calls == dict(world.api.calls)
        await world.until_quiet()

    run(body)
    assert (MADE, 0, 1) == world.ended()


def error_of(world: OperatedWorld) -> Any:
    """Return the error of the only failure."""
    [failure] = [each.data for each in world.outcomes if isinstance(each.data, BackupFailed)]
    return failure.error


def test_a_cancelled_message_ends_as_failed_and_is_a_dead_letter() -> None:
    """Both are published at once; the copy that comes back is dropped; no backup is made."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        [found] = await world.cancel()
        assert ("cancelled", True) == (found.what, found.is_cancelled)
        assert (["backup.failed"], 1, 0) == world.ended()
        await world.until_quiet()
        assert "unknown" == (await world.cancel())[0].what

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()
    assert (Category.CANCELLED, "cancelled by an operator") == (
        error_of(world).category,
        error_of(world).message,
    )
    assert SNAPSHOT == world.broker.dead[0].reason["dl-snapshot-id"]


def test_a_message_that_is_paused_can_be_cancelled() -> None:
    """The copy comes back in the pause and is dropped, so the end of the pause publishes nothing."""
    world = OperatedWorld(control=Control(Pause(1.0)))

    async def body() -> None:
        await world.delayed()
        await world.cancel()
        await world.run_for(LONG)
        world.control = Control()
        await world.until_quiet()

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()


def test_a_cancel_that_is_killed_after_the_ledger_is_completed_by_a_worker() -> None:
    """The end is in the ledger, so the message publishes it when it comes back, once."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        with pytest.raises(ConnectionLost):
            await world.cancel(ConnectionLost("killed"))
        assert ([], 0, 0) == world.ended()
        await world.until_quiet()

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()
    assert Category.CANCELLED == error_of(world).category


def test_a_cancel_can_be_repeated_after_it_was_killed() -> None:
    """The second one publishes what the first one has recorded."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        with pytest.raises(ConnectionLost):
            await world.cancel(ConnectionLost("killed"))
        assert ["cancelled"] == [each.what for each in await world.cancel()]
        await world.until_quiet()

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()


def test_a_cancel_without_a_queue_for_outcomes_ends_with_the_message() -> None:
    """Nothing is published, not even the dead letter, until the worker can publish the outcome."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        assert ["ends later"] == [each.what for each in await world.cancel(Unroutable("no queue"))]
        assert ([], 0, 0) == world.ended()
        await world.until_quiet()

    run(body)
    assert (["backup.failed"], 1, 0) == world.ended()


def test_a_cancel_of_a_call_in_doubt_says_so_and_keeps_the_doubt() -> None:
    """The backup may exist: the outcome says it, and a replay finds it instead of making another."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(CutAfter())
        [found] = await world.cancel()
        assert "a request for its backup may have worked" in found.text
        await world.until_quiet()
        assert "may have worked" in error_of(world).message
        world.broker.publish(replayed(message(1), world, "again"))
        await world.until_quiet()

    run(body)
    assert (["backup.failed", *MADE], 1, 1) == world.ended()


def test_a_backup_in_progress_is_not_cancelled() -> None:
    """The API makes it already: it comes to its end, which is published."""
    world = OperatedWorld()
    world.api.settle = 30.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        [found] = await world.cancel()
        assert ("in progress", False) == (found.what, found.is_cancelled)
        assert world.api.backups[0].id in found.text
        await world.until_quiet()

    run(body)
    assert (MADE, 0, 1) == world.ended()


def test_a_message_that_a_worker_handles_is_not_cancelled() -> None:
    """Its request may be under way; the operator is asked to try again."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        await world.ledger.claim(Key(PROJECT, SNAPSHOT), "another event")
        assert ["in hand"] == [each.what for each in await world.cancel()]

    run(body)
    assert ([], 0, 0) == world.ended()


def test_another_event_of_a_cancelled_snapshot_is_backed_up() -> None:
    """What was cancelled is the event, not the snapshot."""
    world = OperatedWorld()

    async def body() -> None:
        await world.delayed(BUSY)
        await world.cancel()
        world.broker.publish(message(1, event_id="another"))
        await world.until_quiet()

    run(body)
    assert (["backup.failed", *MADE], 1, 1) == world.ended()
