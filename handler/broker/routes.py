"""Routes of the outcomes: which types reach a queue, as the latest publish of each type showed.

AMQP has no question for bindings: only a mandatory publish shows whether a queue is bound. An outcome that is
published is the best answer. Before the first one, a probe is (``probe_routes``): a message of the type
``backup.probe``, which is no outcome and expires at once. If no queue is bound, no consumer gets it. If
one is bound, it does not stay there. These see it (tried on RabbitMQ 3.10.8 with classic and quorum queues):
a consumer that waits for messages at that instant, a stream, and the dead-letter exchange of a queue
without such a consumer.

No other way sees less. A transaction that is rolled back returns nothing, ``if-unused`` deletes the exchange
if the answer is no, and the management API is another server with rights of its own. Therefore a worker that
publishes an outcome soon after its start sends no probe, and the first probe has a routing key that only a
binding for all outcomes matches (``backup.*``, ``#``).
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import pika

from events.outcome import CONTENT_TYPE, PROBE, SOURCE, TYPES
from handler.backup.hooks import OnRoute, RouteChange, noop
from handler.errors import OutcomeRefused, Unroutable

log = logging.getLogger(__name__)

OUTCOME_TYPES: Final = tuple(TYPES.values())
EXPIRED: Final = pika.BasicProperties(content_type=CONTENT_TYPE, type=PROBE, app_id=SOURCE, expiration="0")
"""The properties of a probe."""

BIND: Final = "snapshot-backup topology declare --outcomes-queue outcomes"
"""The command that makes a queue for outcomes; ``outcomes`` is any name."""

_LINE_SECONDS = 60.0
_CHANGE_SECONDS = 10.0


class Routes:
    """The routes of this process, shared by its connections. ``clock`` is in seconds and survives a freeze.

    It logs the loss of a route at once, then once a minute with a count while outcomes are lost.
    """

    def __init__(
        self,
        exchange: str,
        *,
        probe_seconds: float,
        notify: OnRoute = noop,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._exchange = exchange
        self._probe_seconds = probe_seconds
        self._notify = notify
        self._clock = clock
        self._missing: dict[str, Unroutable] = {}
        self._probes: dict[str, float] = {}
        self._seen = False
        self._count = 0
        self._logged = False
        self._line_at = 0.0

    @property
    def missing(self) -> Mapping[str, Unroutable]:
        """The types that reach no queue, each with the latest error."""
        return self._missing

    @property
    def unknown(self) -> bool:
        """Whether nothing was published yet."""
        return not self._seen

    @property
    def tried(self) -> bool:
        """Whether an outcome that waits tries a missing route: then no probe is needed, and none is seen."""
        now = self._clock()
        return any(abs(now - self._probes.get(each, 0.0)) < 2 * self._probe_seconds for each in self._missing)

    def found(self, outcome_type: str) -> bool:
        """Record that a type reaches a queue; return whether it did not before."""
        self._seen = True
        if self._missing.pop(outcome_type, None) is None:
            return False
        self._notify(RouteChange(outcome_type, None))
        if not self._missing and self._logged:
            self._logged = False
            log.info(
                "outcomes are published again: those that waited follow now",
                extra={"action": "outcome.routable"},
            )
        return True

    def lost(self, errors: Mapping[str, Unroutable], *, outcomes: int = 1) -> None:
        """Record types that reach no queue, shown by so many outcomes (0: by a probe)."""
        self._seen = True
        self._count += outcomes
        for outcome_type, error in errors.items():
            self._missing[outcome_type] = error
            self._notify(RouteChange(outcome_type, "refused" if refused(error) else "unroutable"))
        news = bool(self._missing) and (self._count or not self._logged)
        if news and (now := self._clock()) - self._line_at >= self._line_seconds():
            self._log(now)

    def recently_refused(self, outcome_type: str) -> Unroutable | None:
        """Return the broker's refusal of this type if it is recent. A refusal takes seconds to find out."""
        error = self._missing.get(outcome_type)
        asked = abs(self._clock() - self._probes.get(outcome_type, 0.0)) < self._probe_seconds
        return error if error and refused(error) and asked else None

    def take_probe(self, outcome_type: str) -> bool:
        """Return whether the next waiting message of this type comes back soon, to try the route.

        One of each type does in ``probe_seconds``. It is back no earlier, and then it is due again: so while
        outcomes of a type wait, one of them tries the route, whichever process gets it.
        """
        now = self._clock()
        if abs(now - self._probes.get(outcome_type, 0.0)) < self._probe_seconds:
            return False
        self._probes[outcome_type] = now
        return True

    def _line_seconds(self) -> float:
        return _LINE_SECONDS if self._logged else _CHANGE_SECONDS

    def _log(self, now: float) -> None:
        text = sentence(self._exchange, self._missing, self._count)
        if any(map(refused, self._missing.values())):
            log.warning("%s", text, extra={"action": "publish.refused"})
        else:
            log.warning("%s", text, extra={"action": "outcome.unroutable"})
        self._logged, self._line_at, self._count = True, now, 0


def refused(error: Unroutable) -> bool:
    """Return whether the broker refused an outcome, rather than finding no queue for it."""
    return isinstance(error, OutcomeRefused)


def sentence(exchange: str, missing: Mapping[str, Unroutable], count: int = 0) -> str:
    """Say in one line which outcomes are not published, what becomes of them, and what to do."""
    types = ", ".join(sorted(missing))
    error = next((each for each in missing.values() if refused(each)), None)
    why = str(error) if error else f"no queue is bound to the exchange {exchange} for {types}"
    tries = f" ({count} {'try' if count == 1 else 'tries'} since the last line)" if count else ""
    remedy = (
        f"make room in the full queue, or give the user the right to write to {exchange}"
        if error
        else f"run: {BIND} (or set RESULT_UNROUTABLE=ignore)"
    )
    return f"outcomes wait and are not published{tries}: {why}; backups are made meanwhile; {remedy}"


async def probe_routes(
    publish: Callable[[str], Awaitable[None]], types: Iterable[str] = OUTCOME_TYPES
) -> Mapping[str, Unroutable]:
    """Return those of ``types`` that reach no queue. ``publish`` publishes a probe by a routing key.

    The first probe's own key shows a binding for all outcomes, which is the usual one. Only without such a
    binding, one probe goes by the key of each type.
    """
    if await _probe(publish, PROBE) is None:
        return {}
    errors = [(each, await _probe(publish, each)) for each in types]
    return {each: error for each, error in errors if error is not None}


async def _probe(publish: Callable[[str], Awaitable[None]], key: str) -> Unroutable | None:
    try:
        await publish(key)
    except Unroutable as error:
        return error
    return None
