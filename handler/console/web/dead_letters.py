"""The pages and API routes of the dead letters: list, one in full, dry run, replay and drop."""

import base64
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from events.headers import headers_to_json
from handler.console.jobs import JobRunning
from handler.console.looks import Look, facts, group_document
from handler.console.orders import LISTS, NO_CODE, DropOrder, ReplayOrder, Selection
from handler.console.web.forms import Fields, fields_of, form, order_of, problem_of, values_of
from handler.console.web.reading import query_of
from handler.console.web.site import Site
from handler.dead_letters.dead_letter import CATEGORIES, DeadLetter
from handler.errors import BrokerError

Order = TypeVar("Order", bound=Selection)
Act = TypeVar("Act", ReplayOrder, DropOrder)

_MOST_BODY = 64 * 1024
_MOST_IN_API = 200


class DeadLetters:
    """Answers what is in ``Q.dead``, and starts jobs on it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/dead-letters", self.list_page, methods=["GET"]),
            Route("/dead-letters/preview", self.preview_page, methods=["GET"]),
            Route("/dead-letters/replay", self.replay_form, methods=["POST"]),
            Route("/dead-letters/drop", self.drop_form, methods=["POST"]),
            Route("/dead-letters/{id}", self.one_page, methods=["GET"]),
            Route("/api/dead-letters", self.list, methods=["GET"]),
            Route("/api/dead-letters/replay", self.replay, methods=["POST"]),
            Route("/api/dead-letters/drop", self.drop, methods=["POST"]),
            Route("/api/dead-letters/{id}", self.one, methods=["GET"]),
        ]

    async def list_page(self, request: Request) -> Response:
        """List the dead letters by group, and the oldest that the filters select."""
        look, selection, problem, status = None, Selection(), "", HTTPStatus.OK
        try:
            selection = _from(Selection, fields_of(request.query_params.multi_items()))
            look = await self._site.looks.look(selection.filters(), limit=selection.limit)
        except HTTPException as error:
            problem, status = error.detail, HTTPStatus(error.status_code)
        except BrokerError as error:
            problem = str(error)
        return self._site.pages.page(
            request,
            "dead_letters.html",
            status,
            look=look,
            groups=[group_document(group) for group in look.groups] if look else [],
            selection=selection,
            categories=CATEGORIES,
            no_code=NO_CODE,
            problem=problem,
            running=self._site.jobs.running,
        )

    async def preview_page(self, request: Request) -> Response:
        """Show what a replay or a drop would do: a dry run."""
        fields = fields_of(request.query_params.multi_items())
        act = fields.get("act", ("",))[0]
        if act not in ("replay", "drop"):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "act: must be replay or drop")
        selection = _from(Selection, fields)
        look = await self._site.looks.look(selection.filters(), limit=selection.limit)
        return self._site.pages.page(
            request,
            "preview.html",
            act=act,
            look=look,
            groups=[group_document(group) for group in look.groups],
            selection=selection,
            running=self._site.jobs.running,
        )

    async def one_page(self, request: Request) -> Response:
        """Show one dead letter in full."""
        dead_letter = await self._find(request)
        return self._site.pages.page(
            request,
            "dead_letter.html",
            HTTPStatus.OK,
            dead_letter=facts(dead_letter),
            full=_full(dead_letter),
        )

    async def replay_form(self, request: Request) -> Response:
        """Start a replay, and lead to its progress."""
        order = _to_act(_from(ReplayOrder, await form(request, self._site.sessions)))
        return self._led_to(self._site.jobs.replay(_who(request), order, wanted=order.limit).id)

    async def drop_form(self, request: Request) -> Response:
        """Start a drop, and lead to its progress."""
        order = _to_act(_from(DropOrder, await form(request, self._site.sessions)))
        return self._led_to(self._site.jobs.drop(_who(request), order, wanted=order.limit).id)

    async def list(self, request: Request) -> Response:
        """Return the groups and the oldest dead letters that a selection has."""
        selection = query_of(request, Selection, LISTS)
        look = await self._site.looks.look(selection.filters(), limit=selection.limit)
        return JSONResponse(_document(look))

    async def one(self, request: Request) -> Response:
        """Return one dead letter in full."""
        dead_letter = await self._find(request)
        return JSONResponse({**facts(dead_letter), **_full(dead_letter)})

    async def replay(self, request: Request) -> Response:
        """Start a replay, or count what it would send back."""
        order = await order_of(request, ReplayOrder)
        if order.dry_run:
            return await self._counted(order)
        return self._started(self._site.jobs.replay(_who(request), order, wanted=order.limit).id)

    async def drop(self, request: Request) -> Response:
        """Start a drop, or count what it would remove."""
        order = await order_of(request, DropOrder)
        if order.dry_run:
            return await self._counted(order)
        return self._started(self._site.jobs.drop(_who(request), order, wanted=order.limit).id)

    async def _counted(self, order: Selection) -> Response:
        return JSONResponse(_document(await self._site.looks.look(order.filters(), limit=order.limit)))

    async def _find(self, request: Request) -> DeadLetter:
        id_ = request.path_params["id"]
        if (found := await self._site.looks.find(id_)) is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, "No dead letter has this ID. It was replayed or dropped, or never was."
            )
        return found

    def _led_to(self, job_id: str) -> Response:
        return RedirectResponse(f"/jobs/{job_id}", HTTPStatus.SEE_OTHER)

    def _started(self, job_id: str) -> Response:
        job = self._site.jobs.get(job_id)
        return JSONResponse(job.document() if job else None, HTTPStatus.ACCEPTED)


def conflict(error: JobRunning) -> HTTPException:
    """Return the refusal of a second job."""
    return HTTPException(HTTPStatus.CONFLICT, f"{error}: /jobs/{error.job.id}")


def _document(look: Look) -> dict[str, Any]:
    return {
        "total": look.total,
        "groups": [group_document(group) for group in look.groups],
        "dead_letters": list(look.dead_letters[:_MOST_IN_API]),
    }


def _from(model: type[Order], fields: Fields) -> Order:
    """Return the order of a form's fields, without those that it does not know."""
    try:
        return model.model_validate(values_of(fields, model, LISTS))
    except ValidationError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, problem_of(error)) from None


def _to_act(order: Act) -> Act:
    """Return the order of a form. The dry run has a page of its own."""
    if order.dry_run:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "dry_run: use /dead-letters/preview")
    return order


def _who(request: Request) -> str:
    return str(request.state.caller.name)


def _full(dead_letter: DeadLetter) -> dict[str, Any]:
    """Return headers and body as JSON values; a body that is not UTF-8 is base64, a long one is cut."""
    message, original = dead_letter.message, dead_letter.original()
    body = original.body[:_MOST_BODY]
    try:
        shown: dict[str, Any] = {"body": body.decode(), "body_base64": None}
    except UnicodeDecodeError:
        shown = {"body": None, "body_base64": base64.b64encode(body).decode()}
    return {
        **shown,
        "body_bytes": len(original.body),
        "content_type": message.content_type,
        "headers": headers_to_json(message.headers),
    }
