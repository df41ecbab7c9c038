"""The inquiry: asks a second route when calls of one fail, to tell a failing route from a failing service.

The evidence of other calls tells the two apart only if other calls are made meanwhile. Where the messages at
the head of the queue all need the failing route, none would be, and every message would wait for their sake.
"""

import asyncio
from typing import Final

from handler.backup.breaker import CircuitBreaker
from handler.backup.evidence import Place, Route
from handler.backup.ports import Api
from handler.errors import ApiError

_NO_BACKUP: Final = "00000000-0000-4000-8000-000000000000"
"""The id of no backup: that the API knows none is an answer too."""


class Inquiry:
    """Asks one question at a time; all whose calls fail meanwhile wait for its answer."""

    def __init__(self, api: Api, breaker: CircuitBreaker) -> None:
        self._api = api
        self._breaker = breaker
        self._asking: asyncio.Task[bool] | None = None

    async def another_answers(self, failed: Place) -> bool:
        """Return whether another route is answered in the project; it is not asked while consuming pauses."""
        if self._breaker.outage_left():
            return False
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(failed))
            self._asking.add_done_callback(self._forget)
        return await asyncio.shield(self._asking)

    async def _ask(self, failed: Place) -> bool:
        route: Route = "show" if failed.route == "list" else "list"
        try:
            if route == "show":
                await self._api.show(failed.project_id, _NO_BACKUP)
            else:
                await self._api.check(failed.project_id)
        except ApiError:
            return False
        self._breaker.record_success(Place(route, failed.project_id))
        return True

    def _forget(self, _asked: "asyncio.Task[bool]") -> None:
        self._asking = None
