"""The ASGI application of the console, put together from its parts."""

import logging
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from handler.console.jobs import JobRunning
from handler.console.web.audit import AuditPages
from handler.console.web.control import Controls
from handler.console.web.dead_letters import DeadLetters, conflict
from handler.console.web.entrance import Entrance
from handler.console.web.guard import API, Guard
from handler.console.web.jobs_pages import JobsPages
from handler.console.web.openapi import OpenApi
from handler.console.web.overview import Overview
from handler.console.web.reading import Reading
from handler.console.web.reports import Reports
from handler.console.web.site import Site
from handler.errors import BrokerError, LedgerUnavailable, SettingsError, SnapshotBackupError
from handler.redaction import redacted

log = logging.getLogger(__name__)

_TITLES = {
    HTTPStatus.NOT_FOUND: "Not found",
    HTTPStatus.FORBIDDEN: "Refused",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not available",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error within the console",
}


def create_app(site: Site) -> ASGIApp:
    """Build the application."""
    errors = Errors(site)
    app = Starlette(
        routes=routes(site),
        exception_handlers={
            HTTPException: errors.refused,
            SnapshotBackupError: errors.unavailable,
            Exception: errors.bug,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, site.sessions, site.sign_in)


def routes(site: Site) -> list[Route]:
    """Return all routes of the site."""
    return [
        *Entrance(site).routes(),
        *Overview(site).routes(),
        *Reading(site).routes(),
        *Controls(site).routes(),
        *Reports(site).routes(),
        *DeadLetters(site).routes(),
        *JobsPages(site).routes(),
        *AuditPages(site).routes(),
        *OpenApi().routes(),
    ]


class Errors:
    """Answers requests that fail: a page, or JSON from the API."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def refused(self, request: Request, error: Exception) -> Response:
        """Answer what is wrong with a request."""
        if not isinstance(error, HTTPException):
            raise error
        status = HTTPStatus(error.status_code)
        text = error.detail
        if text == status.phrase:  # Starlette's own words
            text = {404: "There is no such page.", 405: "This page cannot be used so."}.get(status, text)
        answer = self._answer(request, status, text)
        answer.headers.update(error.headers or {})
        return answer

    async def unavailable(self, request: Request, error: Exception) -> Response:
        """Answer what is unavailable: ledger, broker or a setting."""
        if isinstance(error, JobRunning):
            return await self.refused(request, conflict(error))
        known = isinstance(error, BrokerError | LedgerUnavailable | SettingsError)
        status = HTTPStatus.SERVICE_UNAVAILABLE if known else HTTPStatus.BAD_GATEWAY
        return self._answer(request, status, redacted(str(error)))

    async def bug(self, request: Request, error: Exception) -> Response:
        """Log an error within the program, and answer without its text."""
        log.error(
            "%s %s failed: %s",
            request.method,
            request.url.path,
            error,
            exc_info=error,
            extra={"action": "console.bug"},
        )
        return self._answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "The log of the console says more.")

    def _answer(self, request: Request, status: HTTPStatus, text: str) -> Response:
        if request.url.path.startswith(API):
            return JSONResponse({"error": text}, status)
        title = _TITLES.get(status, status.phrase)
        return self._site.pages.page(request, "problem.html", status, title=title, problem=text)
