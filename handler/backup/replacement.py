"""``Replacement``: publishes what replaces a message, in the order in which each step is safe to repeat."""

import logging

from events.errors import EventIds
from events.outcome import outcome
from events.republish import inert
from handler.backup import result as results
from handler.backup.delays import Delays
from handler.backup.ports import Outbox
from handler.backup.received import Received
from handler.backup.result import Result
from handler.backup.services import Services
from handler.errors import ConnectionLost, TooLarge, Unroutable

log = logging.getLogger(__name__)


class Replacement:
    """Publishes results. When a method returns, the broker has confirmed everything that it published."""

    def __init__(self, services: Services, outbox: Outbox, delays: Delays) -> None:
        self._services = services
        self._outbox = outbox
        self._delays = delays

    async def publish(self, result: Result, *, redelivered: bool) -> Result:
        """Publish what replaces the message: first the outcome, then the delay or the dead letter."""
        published = False
        try:
            result = await self._publish_outcome(result)
            published = result.dead_letter is not None
            result = await self._delay_or_dead_letter(result, redelivered=redelivered)
        except ConnectionLost:
            raise
        except TooLarge as error:
            return await self.end_too_large(Received(result.original, result.state), result.ids, error)
        except Exception as error:
            if not published:
                received = Received(result.original, result.state)
                await self._publish_outcome(results.rejected(received, results.bug(error, result.ids)))
            raise
        return result

    async def end_too_large(self, received: Received, ids: EventIds, error: TooLarge) -> Result:
        """Fail an event whose message cannot wait: the broker takes none as large as its waiting message."""
        log.error("a message cannot wait: %s", error, extra={"action": "message.too_large"})
        # The record of the wait that was not published is deleted as that of a message that has waited.
        waited = received._replace(state=received.state._replace(waits=received.state.waits + 1))
        failed = results.rejected(waited, results.too_large(error, ids))
        # Where no queue is bound for the outcome, it cannot wait either: the dead letter has the reason.
        await self._publish_outcome(failed)
        return await self._delay_or_dead_letter(failed, redelivered=True)

    async def _publish_outcome(self, result: Result) -> Result:
        """Publish the outcome; where no queue is bound for it, the result becomes a delay."""
        if result.outcome is None:
            return result
        state = result.state
        event = outcome(result.outcome, traceparent=state.traceparent)
        try:
            await self._outbox.publish_outcome(event)
        except Unroutable:
            later = state._replace(reason="publish", waits=state.waits + 1)
            delay = results.Delay(later, self._services.limits.delay(state.waits), unroutable=event.type)
            return result._replace(kind="waiting", outcome=None, delay=delay, dead_letter=None)
        if state.reason == "publish":
            await self._outbox.release_unroutable()
        return result

    async def _delay_or_dead_letter(self, result: Result, *, redelivered: bool) -> Result:
        """Put the message into a wait queue or the dead letters; forget that it waited where it has ended."""
        if delay := result.delay:
            waits = await self._delays.delay(result, delay, redelivered=redelivered)
            return result if waits else result._replace(delay=None)
        if result.kind == "waiting":
            return result  # a copy that was replaced: the record is that of the other one
        if failure := result.dead_letter:
            now, queue = self._services.clock(), self._services.settings.queue
            headers = results.dead_letter_headers(result, failure, now=now, queue=queue)
            await self._outbox.dead_letter(inert(result.original.blanked()), headers)
        await self._delays.forget(result.original, result.state)
        return result
