"""The page Report and its API route: what was backed up and what was not, also as CSV."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from handler.console.asked import ProjectAsked
from handler.console.orders import Time
from handler.console.report import ReportRow, head, table, to_csv, total
from handler.console.web.forms import fields_of, problem_of, values_of
from handler.console.web.reading import query_of
from handler.console.web.site import Site
from handler.dead_letters.filters import moment, period
from handler.errors import LedgerUnavailable
from handler.ledger.inquiry import By


class ReportQuery(BaseModel):
    """The time, and how snapshots are grouped. Each counts once, by where it stands now."""

    model_config = ConfigDict(extra="forbid")

    since: Time = Field("24h", description="Changed at or after: 2026-11-23T22:00 (UTC), or 24h, 7d ago.")
    until: Time = Field(None, description="Last changed before; same forms.")
    by: By = Field("project", description="The groups.")
    project: ProjectAsked | None = Field(None, description="Only of this project.")

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        period(self.since, self.until, now=datetime.now(UTC))
        return self


class Reports:
    """Answers what was backed up."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/report", self.page, methods=["GET"]),
            Route("/report.csv", self.csv, methods=["GET"]),
            Route("/api/report", self.report, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show the report as a table."""
        query, rows, problem, status = ReportQuery(), list[ReportRow](), "", HTTPStatus.OK
        try:
            fields = fields_of(request.query_params.multi_items())
            query = ReportQuery.model_validate(values_of(fields, ReportQuery, ()))
            rows = list(await self._rows(query))
        except ValidationError as error:
            problem, status = problem_of(error), HTTPStatus.UNPROCESSABLE_ENTITY
        except LedgerUnavailable as error:
            problem = str(error)
        return self._site.pages.page(
            request,
            "report.html",
            status,
            query=query,
            head=head(query.by),
            rows=rows,
            total=total(rows) if rows else None,
            problem=problem,
            search=request.url.query,
        )

    async def csv(self, request: Request) -> Response:
        """Return the report as CSV, in which no text is a formula."""
        query = query_of(request, ReportQuery)
        return Response(
            to_csv(await self._rows(query), query.by),
            HTTPStatus.OK,
            {"Content-Disposition": f'attachment; filename="report-by-{query.by}.csv"'},
            "text/csv; charset=utf-8",
        )

    async def report(self, request: Request) -> Response:
        """Return the report."""
        query = query_of(request, ReportQuery)
        rows: list[dict[str, Any]] = [row._asdict() for row in await self._rows(query)]
        return JSONResponse({"by": query.by, "rows": rows})

    async def _rows(self, query: ReportQuery) -> Sequence[ReportRow]:
        now = datetime.now(UTC)
        since = moment(query.since or "24h", now=now)
        until = moment(query.until, now=now) if query.until else None
        found = await self._site.ledger.open().report(
            since.timestamp(), until.timestamp() if until else None, by=query.by, project_id=query.project
        )
        return table(found, tracked=self._site.settings.track_backups)
