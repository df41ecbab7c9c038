"""The page Overview and its API route: queues, what waits and why, dead letters, and the latest acts."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from handler.console.control import document as control_document
from handler.console.looks import Looks, group_document
from handler.console.queues import QueueCount
from handler.console.timeline import REASONS
from handler.console.times import iso
from handler.console.web.site import Site
from handler.console.workers import document as workers_document
from handler.dead_letters.filters import Filters
from handler.errors import BrokerError, LedgerUnavailable
from handler.ledger.inquiry import StateCount, Sum
from handler.ledger.journal import HOUR

_REFRESH_SECONDS = 5
_LOOK_AGAIN_SECONDS = 60.0
_LATEST = 5
_HOURS = 24
_OUTCOMES_SECONDS = _HOURS * HOUR


class Overview:
    """Answers how things stand. Dead letters are looked at beside it: no request waits for a look."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._look: asyncio.Task[None] | None = None
        self._look_problem = ""

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.page, methods=["GET"]),
            Route("/api/overview", self.overview, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show how things stand; the page refreshes itself."""
        return self._site.pages.page(
            request,
            "overview.html",
            HTTPStatus.OK,
            overview=await self.document(),
            reasons=REASONS,
            refresh=_REFRESH_SECONDS,
        )

    async def overview(self, _request: Request) -> Response:
        """Return how things stand."""
        return JSONResponse(await self.document())

    async def document(self) -> dict[str, Any]:
        """Return how things stand as JSON values; ``problem`` says why a part is not known."""
        queues, ledger = await asyncio.gather(self._queues(), self._ledger())
        return {
            "queues": queues,
            "ledger": ledger,
            "dead_letters": self._dead_letters(queues["dead"]),
            "jobs": [job.document() for job in self._site.jobs.all()[:_LATEST]],
        }

    async def _queues(self) -> dict[str, Any]:
        name = self._site.settings.snapshot_queue
        found: dict[str, Any] = {
            "problem": None,
            "name": name,
            "ready": None,
            "consumers": None,
            "dead": None,
        }
        try:
            counts = {each.name: each for each in await self._site.queues.count()}
        except BrokerError as error:
            return {**found, "problem": str(error), "waiting": []}
        none = QueueCount(name, None, None)
        main, dead = counts.get(name, none), counts.get(f"{name}.dead", none)
        waiting = [
            {"name": each.name, "ready": each.ready}
            for each in counts.values()
            if each.name not in (name, f"{name}.dead")
        ]
        return {
            **found,
            "ready": main.ready,
            "consumers": main.consumers,
            "dead": dead.ready,
            "waiting": waiting,
        }

    async def _ledger(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {
            "problem": None,
            "states": {},
            "waiting": {},
            "slots": {},
            "outcomes": {},
            "outcomes_by_hour": {},
            "control": None,
            "workers": [],
        }
        try:
            ledger, queue, now = self._site.ledger.open(), self._site.settings.snapshot_queue, time.time()
            # Together: the ledger answers them in one transaction.
            running, found, control, workers = await asyncio.gather(
                ledger.running(),
                ledger.overview(now - _OUTCOMES_SECONDS),
                ledger.control(queue),
                ledger.workers(queue),
            )
        except LedgerUnavailable as error:
            return {**nothing, "problem": str(error)}
        outcomes: Counter[str] = Counter()
        for each in found.outcomes:
            outcomes[each.what] += each.number
        return {
            **nothing,
            "states": {state: _counted(each) for state, each in found.states.items()},
            "waiting": {reason: _counted(each) for reason, each in found.waiting.items()},
            "slots": {group: each.slots for group, each in sorted(running.groups.items())},
            "outcomes": dict(outcomes),
            "outcomes_by_hour": by_hour(found.outcomes, now),
            "control": control_document(control),
            "workers": workers_document(workers),
        }

    def _dead_letters(self, ready: int | None) -> dict[str, Any]:
        """Return the groups of the latest look; another one is begun where the queue has changed."""
        looks: Looks = self._site.looks
        latest = looks.latest()
        changed = ready is not None and (latest is None or latest.total != ready)
        old = latest is None or time.time() - latest.as_of > _LOOK_AGAIN_SECONDS
        if changed and old and not self._site.jobs.running and (self._look is None or self._look.done()):
            self._look = asyncio.create_task(self._begin_look())
        return {
            "problem": self._look_problem or None,
            "total": ready,
            "as_of": latest.as_of if latest else None,
            "groups": [group_document(group) for group in latest.groups] if latest else [],
        }

    async def _begin_look(self) -> None:
        try:
            await self._site.looks.look(Filters())
            self._look_problem = ""
        except BrokerError as error:
            self._look_problem = str(error)


def by_hour(outcomes: Sequence[Sum], now: float) -> dict[str, list[int]]:
    """Return the outcomes of each of the last 24 hours, by what they are; the last hour is not over."""
    last = int(now // HOUR)
    found: dict[str, list[int]] = {}
    for each in outcomes:
        place = int(datetime.fromisoformat(each.group).timestamp() // HOUR) - last + _HOURS - 1
        if 0 <= place < _HOURS:
            found.setdefault(each.what, [0] * _HOURS)[place] += each.number
    return found


def _counted(each: StateCount) -> dict[str, Any]:
    return {"count": each.number, "oldest": iso(each.oldest) if each.oldest else None}
