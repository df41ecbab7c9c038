"""Delays: puts messages into wait queues, each recorded in the ledger, so that neither can lose one alone.

The record is written before the message is published, and both before the message is acknowledged. It is
deleted once the event has ended and its outcome is confirmed. What is overdue meanwhile, a sweep publishes
again. So an event may have several copies. They cost calls, never a second backup, and become one again: a
copy that has waited less often than the recorded one is dropped where it would be delayed.
"""

import logging
import uuid

from events.errors import EventIds
from events.message import Message, State, wrap
from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.ports import Ledger, Outbox, Waiting
from handler.backup.result import Delay, Result
from handler.backup.services import Services
from handler.errors import LedgerUnavailable

log = logging.getLogger(__name__)

_REST_SECONDS = 6 * 3600.0
"""When a message counts as overdue whose outcome no queue is bound for: it rests until one is, without a
time of its own."""


class Delays:
    """Delays messages through an outbox.

    ``drop_copies`` says that the broker counts redeliveries: a redelivered message is never dropped,
    since the copy that is ahead may be itself.
    """

    def __init__(self, services: Services, outbox: Outbox, *, drop_copies: bool) -> None:
        self._ladder = services.limits.delays
        self._ledger: Ledger = services.ledger
        self._breaker: CircuitBreaker = services.breaker
        self._keys = services.keys
        self._outbox = outbox
        self._drop_copies = drop_copies

    async def delay(self, result: Result, delay: Delay, *, redelivered: bool) -> bool:
        """Delay the message of a result; False where it was dropped, since a copy of it is ahead."""
        drop_copy = self._drop_copies and not redelivered and result.state.waits > 0
        return await self._delay(
            result.original, delay, result.ids, event_id=result.event_id, drop_copy=drop_copy
        )

    async def park(self, original: Message, delay: Delay) -> None:
        """Delay a message that is not parsed."""
        await self._delay(original, delay, EventIds(), event_id=original.derived_id, drop_copy=False)

    async def forget(self, original: Message, state: State) -> None:
        """Delete the record of a message whose event has ended; one that never waited has none.

        Where the ledger is unavailable the record stays. Then the sweep publishes the message once more, and
        its outcome is published again under the same id.
        """
        if not state.waits:
            return
        try:
            await self._ledger.forget_waiting(waiting_id(original, state))
        except LedgerUnavailable as error:
            self._unavailable(error)

    async def _delay(
        self, original: Message, delay: Delay, ids: EventIds, *, event_id: str, drop_copy: bool
    ) -> bool:
        state, subject = delay.state, ids.snapshot_id
        body = wrap(original, state, event_id=event_id, subject=subject, keys=self._keys)
        if delay.recorded:
            waiting = Waiting(
                waiting_id(original, state),
                body,
                _REST_SECONDS if delay.unroutable else self._real(delay.seconds),
                state.reason,
                state.waits,
                ids.project_id,
                subject,
            )
            if not await self._record(waiting, drop_copy=drop_copy):
                return False
        if delay.unroutable:
            await self._outbox.delay_unroutable(body, delay.unroutable, seconds=delay.seconds)
        else:
            await self._outbox.delay(body, seconds=delay.seconds)
        return True

    async def _record(self, waiting: Waiting, *, drop_copy: bool) -> bool:
        """Record a waiting message. While the ledger is unavailable the broker alone has it."""
        try:
            return await self._ledger.record_waiting(waiting, drop_copy=drop_copy)
        except LedgerUnavailable as error:
            self._unavailable(error)
            return True

    def _real(self, seconds: float) -> float:
        """Return the delay of the wait queue that is chosen for so many seconds."""
        return next((delay for delay in self._ladder if delay >= seconds), self._ladder[-1])

    def _unavailable(self, error: LedgerUnavailable) -> None:
        self._breaker.record_failure(ScopedFailure("service", f"ledger: {error}", why="ledger"))


def waiting_id(original: Message, state: State) -> str:
    """Return the id of a message's record: the same for all its copies, another one for each replay.

    Headers belong to it, since a CloudEvent in binary mode has its id there.
    """
    texts = sorted(pair for pair in original.headers.items() if isinstance(pair[1], str))
    own = uuid.uuid5(uuid.UUID(original.derived_id), repr(texts)) if texts else original.derived_id
    return f"{own}#{state.replay}" if state.replay else str(own)
