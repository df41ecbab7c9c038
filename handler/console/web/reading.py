"""The pages and API routes that only read: a snapshot, and what waits."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from events.message import WaitReason
from handler.console.asked import PlainId, ProjectAsked, snapshot
from handler.console.timeline import REASONS
from handler.console.web.answers import Waits, found_documents, search, snapshot_documents, waits
from handler.console.web.forms import fields_of, problem_of, values_of
from handler.console.web.site import Site
from handler.errors import LedgerUnavailable
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.search import Found, Slice, slice_at

_SHOWN = 200
_SHORTEST = 4
"""Characters of an id that is searched for."""

Query = TypeVar("Query", bound=BaseModel)


def _long_enough(text: str) -> str:
    if len(text) < _SHORTEST:
        raise ValueError(f"must be at least {_SHORTEST} characters")
    return text


class SnapshotQuery(BaseModel):
    """Which snapshot to show."""

    model_config = ConfigDict(extra="forbid")

    project: ProjectAsked | None = Field(None, description="Only in this project.")


class _PageQuery(SnapshotQuery):
    """What the page searches for."""

    id: PlainId
    at: str | None = None


class SearchQuery(BaseModel):
    """What to search for, and where to go on."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[PlainId, AfterValidator(_long_enough)] = Field(
        description="The id of a backup, an event or a volume.", json_schema_extra={"minLength": _SHORTEST}
    )
    at: str | None = Field(None, max_length=300, description="The field next of an earlier answer.")

    @model_validator(mode="after")
    def _a_place(self) -> "SearchQuery":
        self.slice()
        return self

    def slice(self) -> Slice:
        """Return where the search begins."""
        try:
            return slice_at(self.text, self.at)
        except ValueError as error:
            raise ValueError(f"at: {error}") from None


class WaitingQuery(BaseModel):
    """Which waiting messages to list."""

    model_config = ConfigDict(extra="forbid")

    project: ProjectAsked | None = Field(None, description="Only of this project.")
    reason: WaitReason | None = Field(None, description="Only for this reason.")
    limit: int = Field(_SHOWN, ge=1, le=10_000, description="At most so many, those that are due first.")


class Reading:
    """Answers what the ledger knows."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/snapshots", self.snapshot_page, methods=["GET"]),
            Route("/waiting", self.waiting_page, methods=["GET"]),
            Route("/api/snapshots/{snapshot_id}", self.snapshot, methods=["GET"]),
            Route("/api/search", self.search, methods=["GET"]),
            Route("/api/waiting", self.waiting, methods=["GET"]),
        ]

    async def snapshot_page(self, request: Request) -> Response:
        """Show where a snapshot stands, or the snapshots of a backup, an event or a volume."""
        values = _stripped(request, "id", "project", "at")
        found: Sequence[Mapping[str, Any]] = ()
        searched, problem, status = None, "", HTTPStatus.OK
        if values["id"]:
            try:
                found, searched = await self._look_for(_PageQuery.model_validate(values))
            except ValidationError as error:
                problem, status = problem_of(error), HTTPStatus.UNPROCESSABLE_ENTITY
            except LedgerUnavailable as error:
                problem = str(error)
        return self._site.pages.page(
            request,
            "snapshots.html",
            status,
            id=values["id"],
            project=values["project"],
            found=found,
            searched=searched,
            next=searched.rest.to_text() if searched and searched.rest else None,
            problem=problem,
            reasons=REASONS,
        )

    async def snapshot(self, request: Request) -> Response:
        """Return where a snapshot stands."""
        query = query_of(request, SnapshotQuery)
        try:
            wanted = snapshot(request.path_params["snapshot_id"])
        except ValueError as error:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"snapshot_id: {error}") from None
        found = await self._documents(wanted, query.project)
        return JSONResponse({"snapshots": list(found)})

    async def search(self, request: Request) -> Response:
        """Return the snapshots of a backup, an event or a volume."""
        found = await search(self._site.ledger, query_of(request, SearchQuery).slice())
        return JSONResponse(
            {
                "snapshots": [key._asdict() for key in found.keys],
                "searched": found.searched,
                "next": found.rest.to_text() if found.rest else None,
            }
        )

    async def waiting_page(self, request: Request) -> Response:
        """List the messages that wait."""
        values = _stripped(request, "project", "reason")
        found, problem, status = Waits((), 0, 0), "", HTTPStatus.OK
        try:
            query = WaitingQuery.model_validate(values)
            found = await waits(self._site.ledger, WaitingFilter(query.limit, query.project, query.reason))
        except ValidationError as error:
            problem, status = problem_of(error), HTTPStatus.UNPROCESSABLE_ENTITY
        except LedgerUnavailable as error:
            problem = str(error)
        return self._site.pages.page(
            request, "waiting.html", status, found=found, problem=problem, reasons=REASONS, **values
        )

    async def waiting(self, request: Request) -> Response:
        """Return the messages that wait."""
        query = query_of(request, WaitingQuery)
        found = await waits(self._site.ledger, WaitingFilter(query.limit, query.project, query.reason))
        return JSONResponse({"messages": list(found.messages), "total": found.total})

    async def _look_for(self, query: _PageQuery) -> tuple[Sequence[Mapping[str, Any]], Found | None]:
        """Return the snapshot of an id; where there is none, what a search finds."""
        documents: Sequence[Mapping[str, Any]] = await self._documents(snapshot(query.id), query.project)
        if documents[0]["backed_up"] is not None or len(query.id) < _SHORTEST:
            return documents, None
        searched = await search(self._site.ledger, SearchQuery(text=query.id, at=query.at).slice())
        found = await found_documents(self._site.ledger, searched, tracked=self._site.settings.track_backups)
        return found or documents, searched

    async def _documents(self, snapshot_id: str, project: str | None) -> Any:
        return await snapshot_documents(
            self._site.ledger, snapshot_id, project, tracked=self._site.settings.track_backups
        )


def _stripped(request: Request, *names: str) -> dict[str, Any]:
    """Return values of a page's query, without whitespace around them; None for what is empty."""
    return {name: request.query_params.get(name, "").strip() or None for name in names}


def query_of(request: Request, model: type[Query], lists: tuple[str, ...] = ()) -> Query:
    """Return a request's query. Raises ``HTTPException`` where a parameter is unknown or wrong."""
    fields = fields_of(request.query_params.multi_items())
    known: Mapping[str, Any] = values_of(fields, model, lists)
    unknown = {name: values[0] for name, values in fields.items() if name not in known}
    try:
        return model.model_validate({**known, **unknown})
    except ValidationError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, problem_of(error)) from None
