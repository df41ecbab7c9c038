"""``/readyz``: does this worker do its work, and if not, which part is it?

- **broker**: connected and consuming. While the circuit breaker is open, nothing is consumed on purpose: that
  is ready.
- **ledger**: reached at its latest use. One that was not reached is tried again every few seconds.
- **sign_in**: not refused.

An API that is down does not make a worker unready: messages wait in the broker whoever is ready, a restart
would not help, and a new release must be able to come up meanwhile.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from handler.backup.breaker import CircuitBreaker
from handler.errors import LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from handler.status.server import Answer, document
from handler.worker.worker import Worker

_LEDGER_SECONDS = 5.0
OK = "ok"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Judges the parts by what they remember, without asking anybody."""

    worker: Worker
    breaker: CircuitBreaker
    ledger: StoredLedger

    def parts(self) -> Mapping[str, str]:
        """Return a word for each part; ``ok`` where it is ready."""
        refused = self.breaker.why == "denied"
        return {"broker": self._broker(), "ledger": self._ledger(), "sign_in": "refused" if refused else OK}

    def page(self) -> Answer:
        """Answer /readyz; the circuit breaker's state is shown, and only a refused sign-in counts."""
        parts = self.parts()
        ready = all(word == OK for word in parts.values())
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        why = f" ({self.breaker.why})" if self.breaker.why else ""
        return document(status, {"ready": ready, **parts, "circuit_breaker": f"{self.breaker.state}{why}"})

    def _broker(self) -> str:
        session = self.worker.session
        if session is None:
            return "not connected"
        if session.consuming or session.in_hand or self.breaker.pause_left():
            return OK
        return "not consuming"

    def _ledger(self) -> str:
        match self.ledger.counters.reachable:
            case None:
                return "not asked yet"
            case True:
                return OK
            case False:
                return "out of reach"

    async def keep_asking(self) -> None:
        """Ask the ledger again while it was not reached: without messages nobody else would."""
        while True:
            if not self.ledger.counters.reachable:
                with contextlib.suppress(LedgerUnavailable):
                    await self.ledger.check()
            await asyncio.sleep(_LEDGER_SECONDS)
