"""The emulator's ASGI application, built from its parts."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from infra.emulator import answers
from infra.emulator.api import Api
from infra.emulator.auth import Authenticator
from infra.emulator.control import Control
from infra.emulator.faults import FaultPlan
from infra.emulator.gate import ConnectionOf, Gate
from infra.emulator.settings import Settings
from infra.emulator.stats import Stats
from infra.emulator.store import Store


def create_app(settings: Settings, connection_of: ConnectionOf, store: Store) -> ASGIApp:
    """Build the application; `connection_of` returns the connection of a call, to cut it or write to it."""
    authenticator = Authenticator(settings, store.clock)
    faults = FaultPlan(settings.seed)
    stats = Stats()
    control = Control(store, faults, stats, authenticator)
    api = Starlette(
        routes=[*Api(settings, store, authenticator).routes(), *control.routes()],
        exception_handlers={answers.ApiError: _refuse, HTTPException: _no_route},
    )
    # /backups/ is not /backups; a client that signs its requests does not follow redirects.
    api.router.redirect_slashes = False
    return Gate(api, faults, stats, connection_of)


async def _refuse(_request: Request, error: Exception) -> Response:
    if not isinstance(error, answers.ApiError):
        raise error
    return error.response()


async def _no_route(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 405:
        message = "The method specified is not allowed for this resource."
        return answers.ApiError(405, answers.fault_body(405, message)).response()
    return answers.no_such_route().response()
