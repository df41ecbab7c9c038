"""``/readyz``: whether this worker is ready, and which of its parts is not.

- **broker**: connected and consuming. A worker whose circuit breaker is open consumes nothing, and is ready.
- **ledger**: available at its latest use. While it is unavailable, it is tried again every few seconds, and
  the page says why and what to do.
- **sign_in**: not refused.
- **outcomes**: named only while a type of outcome reaches no queue. Then events wait, and no consumer
  learns of the backups that are made.

What an operator has paused is named as ``paused`` and ``paused_projects``, and the worker is ready.

An API that is down does not make a worker unready. The messages wait in the broker, a restart would not help,
and a new release must be able to start meanwhile.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from handler.backup.clouds import AnyBreaker, Breakers
from handler.backup.control import Control, Pause
from handler.errors import LedgerUnavailable
from handler.status.server import Answer, document
from handler.telemetry.counters import LedgerCounters
from handler.worker.worker import Worker

_LEDGER_SECONDS = 3.0
OK = "ok"


class CheckedLedger(Protocol):
    """What readiness needs of the ledger; both raise ``LedgerUnavailable``."""

    async def check(self) -> None:
        """Write something."""

    async def ping(self) -> None:
        """Read something."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Reports readiness from the state of the parts, without a call to broker, ledger or API."""

    worker: Worker
    breaker: AnyBreaker
    ledger: CheckedLedger
    ledger_counters: LedgerCounters
    missing_routes: Mapping[str, str] = field(default_factory=dict)
    """The types of outcome that reach no queue; with ``RESULT_UNROUTABLE=ignore`` there are none."""
    control: Callable[[], Control] = Control
    """What operators have set."""

    def parts(self) -> Mapping[str, str]:
        """Return a word for each part; ``ok`` where it is ready."""
        refused = self.breaker.why == "denied"
        parts = {"broker": self._broker(), "ledger": self._ledger(), "sign_in": "refused" if refused else OK}
        missing = dict(self.missing_routes)
        return parts | ({"outcomes": _said(missing)} if missing else {})

    def page(self) -> Answer:
        """Answer /readyz. Of the circuit breaker, which it shows, only a refused sign-in counts."""
        parts = self.parts()
        ready = all(word == OK for word in parts.values())
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        state = {"circuit_breaker": _stated(self.breaker), **_paused(self.control())}
        if held := self.breaker.held_routes:
            state["held_routes"] = ", ".join(f"{route} ({held[route]})" for route in sorted(held))
        if isinstance(self.breaker, Breakers):
            clouds = self.breaker.clouds
            state["clouds"] = ", ".join(f"{name}: {_stated(clouds[name])}" for name in clouds)
        return document(status, {"ready": ready, **parts, **state})

    def _broker(self) -> str:
        session = self.worker.session
        if session is None:
            return "not connected"
        if self.worker.missing:
            return f"does not exist: {', '.join(self.worker.missing)}"
        if session.consuming or session.in_hand or self.breaker.pause_left():
            return OK
        return "not consuming"

    def _ledger(self) -> str:
        match self.ledger_counters.reachable:
            case None:
                return "not asked yet"
            case True:
                return OK
            case False:
                problem = self.ledger_counters.problem
                return f"out of reach: {problem}" if problem else "out of reach"

    async def keep_checking(self) -> None:
        """Check the ledger while it is unavailable, and ask whether it answers while it is not.

        Without messages no other code would use it. A worker that notices late that a server hangs would keep
        the first messages waiting after another worker has left that server.
        """
        while True:
            with contextlib.suppress(LedgerUnavailable):
                await (self.ledger.ping() if self.ledger_counters.reachable else self.ledger.check())
            await asyncio.sleep(_LEDGER_SECONDS)


def _stated(breaker: AnyBreaker) -> str:
    return f"{breaker.state} ({breaker.why})" if breaker.why else breaker.state


def _paused(control: Control) -> Mapping[str, str]:
    """Return the pauses by an operator: a paused worker is ready, since it does what operators have set."""
    shown = {"paused": _reason(control.queue)} if control.queue else {}
    projects = [f"{project}: {_reason(pause)}" for project, pause in control.projects.items()]
    return shown | ({"paused_projects": "; ".join(projects)} if projects else {})


def _reason(pause: Pause) -> str:
    return pause.reason or "no reason given"


def _said(missing: Mapping[str, str]) -> str:
    kinds = {kind: [each for each in sorted(missing) if missing[each] == kind] for kind in missing.values()}
    text = "; ".join(f"{kind}: {', '.join(types)}" for kind, types in kinds.items())
    return f"{text}; their events wait, bind a queue to RESULT_EXCHANGE"
