"""The page Audit and its API route: what operators did by the page, its API and the commands."""

from http import HTTPStatus

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from handler.console.audit import document
from handler.console.web.reading import query_of
from handler.console.web.site import Site
from handler.ledger.audit import MOST_ACTS

_SHOWN = 200


class AuditQuery(BaseModel):
    """How many acts to show."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(_SHOWN, ge=1, le=MOST_ACTS, description="At most so many, the latest first.")


class AuditPages:
    """Shows the audit journal."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/audit", self.page, methods=["GET"]),
            Route("/api/audit", self.acts, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show the latest acts."""
        found = await self._site.audit.acts(_SHOWN)
        return self._site.pages.page(
            request,
            "audit.html",
            HTTPStatus.OK,
            acts=[document(act) for act in found.acts],
            problem=found.problem,
            shown=_SHOWN,
            jobs={job.id: job for job in self._site.jobs.all()},
            undoable={act.id for act in found.acts if self._site.jobs.can_undo(act.id)},
        )

    async def acts(self, request: Request) -> Response:
        """Return the latest acts."""
        found = await self._site.audit.acts(query_of(request, AuditQuery).limit)
        return JSONResponse({"acts": [document(act) for act in found.acts], "problem": found.problem})
