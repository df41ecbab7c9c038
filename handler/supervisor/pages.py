"""The pages of ``HTTP_ADDRESS`` where several processes work: each asks the workers, and answers for all.

- **/healthz** fails while a worker does not answer, so that what watches over the program restarts it. A
  worker that has ended is no reason: the supervisor starts it again.
- **/readyz** is ready while at least one worker is: the queue is consumed then. It shows each worker's page.
- **/metrics** are those of all workers as one.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from handler.extras import install
from handler.status.server import Answer, Page, document
from handler.supervisor.child import Child
from handler.supervisor.supervisor import Place

if TYPE_CHECKING:
    from handler.supervisor.totals import Totals

_READY_SECONDS: Final = 0.8
"""Less than what Kubernetes gives a probe by default: a worker that hangs must not hide one that works."""

_SECONDS: Final = 4.0
_START_SECONDS: Final = 60.0
"""A worker that has not answered by then hangs at its start."""

_TOO_LATE: Final = Answer(HTTPStatus.GATEWAY_TIMEOUT, b"")
"""What stands for an answer that did not come in time."""

_MISSING: Final = install("metrics")
_SILENT: Final = "does not answer"


def pages(places: Sequence[Place], totals: "Totals | None") -> Mapping[str, Page]:
    """Return the pages, by path; without the extra ``metrics`` there are no ``totals``."""

    async def healthy() -> Answer:
        return await _healthy(places)

    async def ready() -> Answer:
        return await _ready(places)

    async def metrics() -> Answer:
        return await _metrics(places, totals)

    return {"/healthz": healthy, "/readyz": ready, "/metrics": metrics}


async def _healthy(places: Sequence[Place]) -> Answer:
    children = [place.child for place in places if place.child and _old_enough(place.child)]
    answers = await _of_all(children, "/healthz", _SECONDS)
    silent = [child.number for child, answer in zip(children, answers, strict=True) if answer is _TOO_LATE]
    if not silent:
        return Answer(HTTPStatus.OK, b"ok\n")
    text = "".join(f"worker {number} {_SILENT}\n" for number in silent)
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, text.encode())


def _old_enough(child: Child) -> bool:
    return child.begun or child.age > _START_SECONDS


async def _ready(places: Sequence[Place]) -> Answer:
    shown = await asyncio.gather(*map(_state, places))
    ready = any(state.get("ready") for state in shown)
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    workers = {str(place.number): state for place, state in zip(places, shown, strict=True)}
    return document(status, {"ready": ready, "workers": workers})


async def _state(place: Place) -> Mapping[str, Any]:
    """Return what a worker says of itself, or why it says nothing."""
    child = place.child
    if child is None:
        return {"ready": False, "process": place.why}
    if not child.begun:
        return {"ready": False, "process": "is starting"}
    (answer,) = await _of_all([child], "/readyz", _READY_SECONDS)
    if answer is None or answer is _TOO_LATE:
        return {"ready": False, "process": _SILENT}
    found: Mapping[str, Any] = json.loads(answer.body)
    return found


async def _metrics(places: Sequence[Place], totals: "Totals | None") -> Answer:
    if totals is None:
        return Answer(HTTPStatus.NOT_IMPLEMENTED, f"{_MISSING}\n".encode())
    children = [place.child for place in places if place.child and place.child.begun]
    answering = []

    async def read(child: Child) -> None:
        (answer,) = await _of_all([child], "/metrics", _SECONDS)
        # While others are asked a worker may end, and what it had counted is kept then.
        if answer and answer is not _TOO_LATE and answer.status == HTTPStatus.OK and _runs(places, child):
            totals.read(child.number, answer.body.decode())
            answering.append(child.number)

    await asyncio.gather(*map(read, children))
    return totals.page(answering)


def _runs(places: Sequence[Place], child: Child) -> bool:
    return any(place.child is child for place in places)


async def _of_all(children: Sequence[Child], path: str, seconds: float) -> list[Answer | None]:
    """Ask workers for a page: its answer, None where one has ended, ``_TOO_LATE`` where none came in time."""

    async def ask(child: Child) -> Answer | None:
        try:
            async with asyncio.timeout(seconds):
                return await child.ask(path)
        except TimeoutError:
            return _TOO_LATE

    return await asyncio.gather(*map(ask, children))
