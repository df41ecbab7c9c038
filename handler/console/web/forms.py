"""The bodies of changes: forms with the session's CSRF token, and JSON; both of a bounded size."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from handler.console.web.guard import Caller
from handler.console.web.sessions import Sessions
from handler.printable import printable

MOST_BYTES = 256 * 1024
_MOST_FIELDS = 5_000
CSRF = "csrf_token"

Order = TypeVar("Order", bound=BaseModel)

Fields = Mapping[str, Sequence[str]]
"""The values of a form or a query by their names."""


async def form(request: Request, sessions: Sessions) -> Fields:
    """Read a form. Raises ``HTTPException`` where it lacks this session's CSRF token."""
    text = (await _body(request)).decode("utf-8", "replace")
    try:
        fields = fields_of(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the form has too many fields") from None
    caller: Caller = request.state.caller
    if not sessions.is_csrf_token(caller.session, fields.get(CSRF, ("",))[0]):
        raise HTTPException(
            HTTPStatus.FORBIDDEN,
            "the form is not of this session, or the console was restarted; nothing was done. "
            "Load the page again",
        )
    return fields


def fields_of(pairs: Sequence[tuple[str, str]]) -> Fields:
    """Return the values by their names, without empty ones."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if value.strip():
            found.setdefault(name, []).append(value.strip())
    return found


async def json_body(request: Request) -> Mapping[str, Any]:
    """Read a JSON object. Its content type is checked, since no form of another site can send it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    try:
        found = json.loads(await _body(request) or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is no JSON object")
    return found


async def order_of(request: Request, model: type[Order]) -> Order:
    """Read a JSON object as an order; no text stands for a number. Raises ``HTTPException``."""
    values = await json_body(request)
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        problem = _not_unicode(values) or problem_of(error)
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, problem) from None


def _not_unicode(values: Mapping[str, Any]) -> str | None:
    """Return which field has a lone surrogate, as JSON may spell it; the model knows its place only."""
    for name, value in values.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return f"{printable(name)}: has a lone surrogate, which is no character"
    return None


def problem_of(error: ValidationError) -> str:
    """Return what is wrong with the first wrong field."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(map(str, first["loc"]))
    return f"{name}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")


def values_of(fields: Fields, model: type[BaseModel], lists: Sequence[str]) -> Mapping[str, Any]:
    """Return the fields that a model knows, of which ``lists`` may have several values."""
    return {
        name: list(values) if name in lists else values[0]
        for name, values in fields.items()
        if name in model.model_fields
    }


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
    return body
