"""``ConsumerWatch``: notices that the broker has forgotten a session's consumers without cancelling them.

RabbitMQ does not always send ``basic.cancel`` when a queue is deleted on another node. The session would then
wait for ever for messages of a queue that was made anew.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from handler.broker.topology import Queue
from handler.broker.upkeep import Seen
from handler.worker.session import ConsumerSession

log = logging.getLogger(__name__)

_SHORT_CHECKS = 2
"""So many checks in succession must count too few consumers: the leader of the queue may be changing."""

_IDLE_CHECKS = 10
"""After so many checks without a delivery the session consumes anew. Another worker may have made the queue
again, and consumes it: then nothing else shows that this one receives nothing."""

_IDLE = "nothing was delivered for long"


@dataclass
class _Evidence:
    """What the checks have shown since the session began to consume, or began anew."""

    consumers: int = 0
    """How many consumers the session had at the latest check."""
    idle: int = 0
    """Checks in succession without a delivery."""
    short: int = 0
    """Checks in succession that counted too few consumers."""
    counted: bool = False
    """Whether a check has counted all consumers of an idle session."""
    ready: bool = False
    """Whether the latest check saw ready messages, and the session was idle."""


class ConsumerWatch:
    """Watches the consumers of one session at each check of the topology."""

    def __init__(self, session: ConsumerSession, queue: str) -> None:
        self._session = session
        self._queue = queue
        self._remade: int | None = None
        self._deliveries = 0
        self._evidence = _Evidence()

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
        self._evidence = _Evidence()
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
            self._evidence = _Evidence()
            return None
        self._evidence.idle = self._evidence.idle + 1 if idle else 0
        reason = self._from_counts(found[0], idle=idle) if found[0].counted else None
        return reason or (_IDLE if self._evidence.idle >= _IDLE_CHECKS else None)

    def _from_counts(self, queue: Seen, *, idle: bool) -> str | None:
        """Return what the counts of the queue say against its consumers. They say nothing of a busy session.

        A consumer has to have been counted before: a build of RabbitMQ 4 counts the unacknowledged messages
        of a quorum queue in place of its consumers.
        """
        evidence, consumers = self._evidence, self._session.consumers
        # A quorum queue counts a new consumer a moment late (tried on 3.10.8).
        expected, evidence.consumers = min(evidence.consumers, consumers), consumers
        evidence.counted |= idle and queue.consumers >= expected > 0
        evidence.short = evidence.short + 1 if idle and queue.consumers < expected else 0
        was_ready, evidence.ready = evidence.ready, idle and queue.messages > 0
        if evidence.counted and evidence.short >= _SHORT_CHECKS:
            return f"the broker knows {queue.consumers} consumers, and this worker has {expected}"
        return "messages are ready in it, and none is delivered" if was_ready and evidence.ready else None
