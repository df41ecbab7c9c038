"""The OpenAPI document of the HTTP API: each route, made from the models that its handler validates with."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from handler.console.orders import DropOrder, ReplayOrder, Selection
from handler.console.web.audit import AuditQuery
from handler.console.web.control import (
    CancelOrder,
    ConcurrencyOrder,
    PauseOrder,
    ResumeOrder,
    RetryOrder,
)
from handler.console.web.guard import API
from handler.console.web.jobs_pages import JobOrder
from handler.console.web.reading import SearchQuery, SnapshotQuery, WaitingQuery
from handler.console.web.reports import ReportQuery

PATH = f"{API}openapi.json"


class Operation(NamedTuple):
    """What a route does, what it takes, and which statuses besides 200 it may answer."""

    summary: str
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answers: tuple[int, ...] = ()


_CHANGED = (400, 413, 415, 422, 503)

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("get", "/api/overview"): Operation("How things stand: queues, what waits and why, dead letters, jobs"),
    ("get", "/api/snapshots/{snapshot_id}"): Operation(
        "Where a snapshot stands, in each project that has it", query=SnapshotQuery, answers=(422, 503)
    ),
    ("get", "/api/search"): Operation(
        "The snapshots of a backup, an event or a volume; reads for a second, next says where to go on",
        query=SearchQuery,
        answers=(422, 503),
    ),
    ("get", "/api/waiting"): Operation(
        "The messages that wait, those that are due first", query=WaitingQuery, answers=(422, 503)
    ),
    ("post", "/api/waiting/retry-now"): Operation(
        "Bring waiting messages back to the queue at once", body=RetryOrder, answers=_CHANGED
    ),
    ("post", "/api/waiting/cancel"): Operation(
        "End what waits of a snapshot as cancelled", body=CancelOrder, answers=_CHANGED
    ),
    ("get", "/api/control"): Operation("What is set for all workers of the queue", answers=(503,)),
    ("post", "/api/control/pause"): Operation(
        "Pause all workers, or one project", body=PauseOrder, answers=_CHANGED
    ),
    ("post", "/api/control/resume"): Operation(
        "End a pause, and bring back what waits for it", body=ResumeOrder, answers=_CHANGED
    ),
    ("post", "/api/control/concurrency"): Operation(
        "Set how many messages each worker has in hand", body=ConcurrencyOrder, answers=_CHANGED
    ),
    ("get", "/api/report"): Operation(
        "What was backed up and what was not, by project, category or hour",
        query=ReportQuery,
        answers=(422, 503),
    ),
    ("get", "/api/dead-letters"): Operation(
        "Dead letters by group, and the 200 oldest that the selection has",
        query=Selection,
        answers=(422, 503),
    ),
    ("get", "/api/dead-letters/{id}"): Operation("One dead letter with headers and body", answers=(404, 503)),
    ("post", "/api/dead-letters/replay"): Operation(
        "Send dead letters back to the queue: a job; with dry_run, what would be sent",
        body=ReplayOrder,
        answers=(202, 400, 409, 413, 415, 422, 503),
    ),
    ("post", "/api/dead-letters/drop"): Operation(
        "Export dead letters to a file where the console runs, and remove them: a job; with dry_run, what "
        "would be removed",
        body=DropOrder,
        answers=(202, 400, 409, 413, 415, 422, 503),
    ),
    ("get", "/api/jobs"): Operation("The latest replays, drops and undos"),
    ("get", "/api/jobs/{id}"): Operation("The progress of a replay, drop or undo", answers=(404,)),
    ("post", "/api/jobs/{id}/stop"): Operation(
        "Stop a job, after what is in flight is confirmed", body=JobOrder, answers=(400, 404, 413, 415, 422)
    ),
    ("post", "/api/jobs/{id}/undo"): Operation(
        "Put back what a drop has removed, from its export: a job; nothing is put back twice",
        body=JobOrder,
        answers=(202, 400, 404, 409, 413, 415, 422),
    ),
    ("get", "/api/audit"): Operation(
        "What operators did by the page, this API and the commands, the latest first",
        query=AuditQuery,
        answers=(422,),
    ),
    ("get", PATH): Operation("This document"),
}
"""Every route of the API."""

_MEANINGS = {
    200: "Done",
    202: "The job has begun",
    400: "The body is no JSON object",
    401: "CONSOLE_TOKEN is set, and the request has neither it nor a session",
    403: "A page of another site sent this, or the token may only read",
    404: "There is none",
    409: "Another replay, drop or undo is running",
    413: "The body is too large",
    415: "The body is not application/json",
    421: "The Host header is not of this machine, and CONSOLE_TOKEN is not set",
    422: "A value is wrong; the error begins with its name",
    429: "Too many wrong tokens; Retry-After says how long to wait",
    503: "The broker, the ledger or a setting does not serve; the error says why",
}
_ANY_TIME = (200, 401, 403, 421, 429)


class OpenApi:
    """Serves the document."""

    def __init__(self) -> None:
        self._document = document()

    def routes(self) -> list[Route]:
        """Return the route."""
        return [Route(PATH, self.show, methods=["GET"])]

    async def show(self, _request: Request) -> Response:
        """Return the document."""
        return JSONResponse(self._document)


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method] = _operation(path, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "snapshot-backup console", "version": version("snapshot-backup")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "additionalProperties": False,
}


def _operation(path: str, operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for part in path.split("/")
        if part.startswith("{")
    ]
    if operation.query:
        parameters += _parameters(operation.query)
    found: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {str(status): _response(status) for status in sorted({*_ANY_TIME, *operation.answers})},
    }
    if operation.body:
        name = operation.body.__name__
        schemas[name] = operation.body.model_json_schema()
        schema = {"$ref": f"#/components/schemas/{name}"}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    found = model.model_json_schema()
    properties: dict[str, Any] = found["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in found.get("required", ()),
            "allowEmptyValue": True,
            "description": schema.get("description", ""),
            "schema": _given(schema),
        }
        for name, schema in properties.items()
    ]


def _given(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is given: for null, a query leaves it out or empty."""
    found = {key: value for key, value in schema.items() if key not in {"description", "anyOf"}}
    if found.get("default", ...) is None:
        del found["default"]
    [choice] = [each for each in schema.get("anyOf", [{}]) if each != {"type": "null"}]
    return {**found, **choice}


def _response(status: int) -> dict[str, Any]:
    schema = {"type": "object"} if status < 400 else {"$ref": "#/components/schemas/Error"}
    return {"description": _MEANINGS[status], "content": {"application/json": {"schema": schema}}}
