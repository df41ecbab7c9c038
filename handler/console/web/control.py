"""What an operator sets and asks of what waits: pause, resume, concurrency, retry now and cancel."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from events.message import WaitReason
from handler.console import control
from handler.console.asked import ProjectAsked, SnapshotAsked
from handler.console.audit import Done
from handler.console.orders import described
from handler.console.waiting import Cancelled, Retried, Which, cancel, opened_waits, retry_now, texts
from handler.console.web.forms import form, order_of, problem_of, values_of
from handler.console.web.site import Site
from handler.errors import BrokerError, LedgerUnavailable

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0
"""After so long a page is shown while messages are still brought back."""

_GOES_ON = (
    "The messages are being brought back to the queue. That goes on when you leave this page; "
    "the list of waiting messages shows how many are left."
)

Order = TypeVar("Order", bound=BaseModel)


class ResumeOrder(BaseModel):
    """Which pause to end: that of the queue, or of one project."""

    model_config = ConfigDict(extra="forbid")

    project: ProjectAsked | None = Field(None, description="Only this project; without it, all events.")


class PauseOrder(ResumeOrder):
    """What to pause, and why."""

    reason: str = Field("", max_length=control.MOST_REASON, description="Shown to all operators.")


class ConcurrencyOrder(BaseModel):
    """How many messages each worker has in hand."""

    model_config = ConfigDict(extra="forbid")

    number: int | None = Field(None, ge=1, le=2_000, description="Without it, each worker's CONCURRENCY.")


class RetryOrder(BaseModel):
    """Which waiting messages to bring back to the queue at once."""

    model_config = ConfigDict(extra="forbid")

    snapshot: SnapshotAsked | None = Field(None, description="Only of this snapshot.")
    project: ProjectAsked | None = Field(None, description="Only of this project.")
    reason: WaitReason | None = Field(None, description="Only what waits for this reason.")
    all: bool = Field(default=False, description="Needed where nothing is left out.")

    @model_validator(mode="after")
    def _not_by_accident(self) -> Any:
        if not (self.snapshot or self.project or self.reason or self.all):
            raise ValueError("all: name a snapshot, a project or a reason, or say all=true")
        return self


class CancelOrder(BaseModel):
    """Of which snapshot to cancel what waits."""

    model_config = ConfigDict(extra="forbid")

    snapshot: SnapshotAsked
    project: ProjectAsked | None = Field(None, description="Only in this project.")


class Controls:
    """Carries out what operators set for all workers, and what they do with waiting messages."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._returning: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/control", self.page, methods=["GET"]),
            Route("/control/pause", self.pause_form, methods=["POST"]),
            Route("/control/resume", self.resume_form, methods=["POST"]),
            Route("/control/concurrency", self.concurrency_form, methods=["POST"]),
            Route("/waiting/retry-now", self.retry_form, methods=["POST"]),
            Route("/waiting/cancel", self.cancel_page, methods=["GET"]),
            Route("/waiting/cancel", self.cancel_form, methods=["POST"]),
            Route("/api/control", self.control, methods=["GET"]),
            Route("/api/control/pause", self.pause, methods=["POST"]),
            Route("/api/control/resume", self.resume, methods=["POST"]),
            Route("/api/control/concurrency", self.concurrency, methods=["POST"]),
            Route("/api/waiting/retry-now", self.retry, methods=["POST"]),
            Route("/api/waiting/cancel", self.cancel, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show what is set for all workers of the queue, and change it."""
        return self._site.pages.page(request, "control.html", HTTPStatus.OK, control=await self._document())

    async def control(self, _request: Request) -> Response:
        """Return what is set for all workers of the queue."""
        return JSONResponse(await self._document())

    async def pause_form(self, request: Request) -> Response:
        """Pause the queue, or one project."""
        await self._pause(request, await self._form(PauseOrder, request))
        return RedirectResponse("/control", HTTPStatus.SEE_OTHER)

    async def pause(self, request: Request) -> Response:
        """Pause the queue, or one project."""
        return JSONResponse(await self._pause(request, await order_of(request, PauseOrder)))

    async def resume_form(self, request: Request) -> Response:
        """End a pause."""
        await self._resume(request, await self._form(ResumeOrder, request))
        return RedirectResponse("/control", HTTPStatus.SEE_OTHER)

    async def resume(self, request: Request) -> Response:
        """End a pause."""
        return JSONResponse(await self._resume(request, await order_of(request, ResumeOrder)))

    async def concurrency_form(self, request: Request) -> Response:
        """Set how many messages each worker has in hand."""
        await self._concurrency(request, await self._form(ConcurrencyOrder, request))
        return RedirectResponse("/control", HTTPStatus.SEE_OTHER)

    async def concurrency(self, request: Request) -> Response:
        """Set how many messages each worker has in hand."""
        return JSONResponse(await self._concurrency(request, await order_of(request, ConcurrencyOrder)))

    async def retry_form(self, request: Request) -> Response:
        """Bring waiting messages back. If that takes long it goes on, and the page says so."""
        task = asyncio.create_task(self._retry(request, await self._form(RetryOrder, request)))
        ended, _ = await asyncio.wait({task}, timeout=_ANSWER_SECONDS)
        if not ended:
            self._keep(task)
            return self._done(request, "Retry now", [_GOES_ON])
        done = task.result()
        lines = [f"{done.returned:,} brought back to the queue."]
        if done.unreadable:
            lines.append(f"{done.unreadable:,} left: no key of ours has signed them. Set STATE_KEYS.")
        return self._done(request, "Retry now", lines)

    async def retry(self, request: Request) -> Response:
        """Bring waiting messages back."""
        return JSONResponse((await self._retry(request, await order_of(request, RetryOrder)))._asdict())

    async def cancel_page(self, request: Request) -> Response:
        """Ask before anything is cancelled."""
        snapshot, project = (request.query_params.get(name, "")[:256] for name in ("snapshot", "project"))
        return self._site.pages.page(
            request, "cancel.html", HTTPStatus.OK, snapshot=snapshot, project=project or None
        )

    async def cancel_form(self, request: Request) -> Response:
        """Cancel what waits of a snapshot."""
        done = await self._cancel(request, await self._form(CancelOrder, request))
        return self._done(request, "Cancel", [f"{each.snapshot_id}: {each.text}." for each in done])

    async def cancel(self, request: Request) -> Response:
        """Cancel what waits of a snapshot."""
        done = await self._cancel(request, await order_of(request, CancelOrder))
        messages = [{**each._asdict(), "cancelled": each.is_cancelled} for each in done]
        return JSONResponse({"messages": messages})

    async def _document(self) -> Any:
        found = await self._site.ledger.open().control(self._site.settings.snapshot_queue)
        return control.document(found)

    async def _pause(self, request: Request, order: PauseOrder) -> Any:
        async with self._act(request, "pause", order):
            ledger, queue = self._site.ledger.open(), self._site.settings.snapshot_queue
            found = await control.pause(ledger, queue, project=order.project, reason=order.reason)
        return control.document(found)

    async def _resume(self, request: Request, order: ResumeOrder) -> Any:
        async with self._act(request, "resume", order):
            ledger, queue = self._site.ledger.open(), self._site.settings.snapshot_queue
            found = await control.resume(ledger, queue, project=order.project)
        self._keep(asyncio.create_task(self._bring_back(order.project)))
        return control.document(found)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Let a task go on after the answer."""
        self._returning.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._returning.discard(task)
        if not task.cancelled() and (error := task.exception()):
            text = "not all that waits was brought back, the rest comes by itself: %s"
            log.warning(text, error, extra={"action": "console.act"})

    async def _bring_back(self, project: str | None) -> None:
        """Bring back what waits for the end of a pause, once workers know of it; else it comes by itself."""
        await asyncio.sleep(control.NOTICED_SECONDS)
        try:
            async with opened_waits(self._site.settings, self._site.ledger.open()) as waits:
                await retry_now(waits, Which(None, project, "paused"))
        except (BrokerError, LedgerUnavailable) as error:
            log.warning("what waits comes back within 10 minutes: %s", error, extra={"action": "console.act"})

    async def _concurrency(self, request: Request, order: ConcurrencyOrder) -> Any:
        async with self._act(request, "concurrency", order):
            ledger, queue = self._site.ledger.open(), self._site.settings.snapshot_queue
            found = await control.set_concurrency(ledger, queue, order.number)
        return control.document(found)

    async def _retry(self, request: Request, order: RetryOrder) -> Retried:
        which = Which([order.snapshot] if order.snapshot else None, order.project, order.reason)
        async with (
            self._act(request, "retry now", order) as act,
            opened_waits(self._site.settings, self._site.ledger.open()) as waits,
        ):
            done = await retry_now(waits, which)
            act.number = done.returned
            return done

    async def _cancel(self, request: Request, order: CancelOrder) -> Sequence[Cancelled]:
        async with (
            self._act(request, "cancel", order) as act,
            opened_waits(self._site.settings, self._site.ledger.open()) as waits,
        ):
            done = await cancel(waits, order.snapshot, project=order.project)
            act.number, act.outcome = sum(each.is_cancelled for each in done), texts(done)
            return done

    def _act(self, request: Request, what: str, order: BaseModel) -> AbstractAsyncContextManager[Done]:
        about = described(order.model_dump(exclude={"all"}))
        return self._site.audit.act(request.state.caller.name, what, about)

    async def _form(self, model: type[Order], request: Request) -> Order:
        fields = await form(request, self._site.sessions)
        return _valid(model, values_of(fields, model, ()))

    def _done(self, request: Request, title: str, lines: Sequence[str]) -> Response:
        return self._site.pages.page(request, "done.html", HTTPStatus.OK, title=title, lines=lines)


def _valid(model: type[Order], values: Any) -> Order:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, problem_of(error)) from None
