"""``ConsumerWatch``: notices that the broker has forgotten a session's consumers without cancelling them.

RabbitMQ does not always send ``basic.cancel`` when a queue is deleted on another node. The session would then
wait for ever for messages of a queue that was made anew.
"""

import logging
from collections.abc import Sequence

from handler.broker.topology import Queue
from handler.broker.upkeep import Seen
from handler.worker.session import ConsumerSession

log = logging.getLogger(__name__)

_IDLE_CHECKS = 10
"""After so many checks without a delivery the session consumes anew. Another worker may have made the queue
again, and consumes it: then nothing else shows that this one receives nothing."""


class ConsumerWatch:
    """Watches the consumers of one session at each check of the topology."""

    def __init__(self, session: ConsumerSession, queue: str) -> None:
        self._session = session
        self._queue = queue
        self._remade: int | None = None
        self._deliveries = 0
        self._consumers = 0
        self._idle = 0
        self._was_ready = False

    @property
    def consuming(self) -> bool:
        """Whether the session consumes."""
        return self._session.consuming

    def take_longest(self) -> float:
        """Return for how many seconds a message was in hand at most since the last call."""
        return self._session.take_longest()

    def check(self, seen: Sequence[Seen], remade: int) -> None:
        """Let the session consume anew where the broker has forgotten it.

        ``remade`` counts how often the queue was made again.
        """
        reason = self._forgotten(seen, remade)
        if reason is None:
            return
        self._start_over()
        log.log(
            logging.DEBUG if reason == _IDLE else logging.WARNING,
            "consuming %s anew: %s",
            self._queue,
            reason,
            extra={"action": "consume.anew"},
        )
        self._session.consume_anew()

    def _forgotten(self, seen: Sequence[Seen], remade: int) -> str | None:
        """Return why the broker may have forgotten the consumers; None where nothing says so."""
        session = self._session
        before, self._remade = self._remade, remade
        if before not in (None, remade):
            return "it was made again"
        idle = session.deliveries == self._deliveries and not session.in_hand
        self._deliveries = session.deliveries
        found = [each for each in seen if isinstance(each.part, Queue) and each.part.name == self._queue]
        if not session.consuming or not found:
            self._start_over()
            return None
        # A quorum queue counts a new consumer a moment late (tried on 3.10.8).
        expected, self._consumers = min(self._consumers, session.consumers), session.consumers
        self._idle = self._idle + 1 if idle else 0
        was_ready, self._was_ready = self._was_ready, idle and found[0].messages > 0
        if found[0].consumers < expected:
            return f"the broker knows {found[0].consumers} consumers, and this worker has {expected}"
        if was_ready and self._was_ready:
            return "messages are ready in it, and none is delivered"
        return _IDLE if self._idle >= _IDLE_CHECKS else None

    def _start_over(self) -> None:
        self._consumers, self._idle, self._was_ready = 0, 0, False


_IDLE = "nothing was delivered for long"
