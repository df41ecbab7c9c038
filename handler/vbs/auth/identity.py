"""The token request to IAM or Keystone: ``POST {OS_AUTH_URL}/auth/tokens``."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from events.outcome import Category
from handler.backup.hooks import Call, OnCall, noop
from handler.causes import Setting
from handler.errors import ApiError
from handler.redaction import hold_token
from handler.vbs.auth.account import Account, Document
from handler.vbs.auth.catalogue import Catalogue, read_catalogue
from handler.vbs.fault_body import read_fault
from handler.vbs.faults import is_own, request_id
from handler.vbs.retry_after import retry_after
from handler.vbs.transport.body import Unreadable, parse_json, read_body
from handler.vbs.transport.unanswered import NO_ANSWER, no_answer

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_DEFAULT_LIFETIME = 600.0
_URL = "OS_AUTH_URL"
_SETTING = Setting(_URL, "VBS_CA_FILE")


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, how many seconds it is valid from now on, and its catalogue with its project."""

    token: str = field(repr=False)
    lifetime: float
    catalogue: Catalogue


async def sign_in(
    client: httpx.AsyncClient,
    account: Account,
    scope: Document | None,
    timeout: float,
    notify: OnCall = noop,
    *,
    catalogue: bool = False,
) -> Grant:
    """Request a token within ``timeout`` seconds, with the service catalogue if it is wanted.

    Raises ``ApiError``: ``denied`` if IAM refuses the account or its scope, else ``unavailable``.
    """
    status = None
    began = time.perf_counter()
    try:
        async with asyncio.timeout(timeout):
            response, body = await _post(client, account, scope, catalogue=catalogue)
        status = response.status_code
    except NO_ANSWER as error:
        text, remedy = no_answer("IAM", error, _SETTING)
        raise _unavailable(text, remedy) from None
    finally:
        host = httpx.URL(account.auth_url).host
        notify(Call("token", "POST", host, status, time.perf_counter() - began, time.time()))
    if response.status_code not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise _refusal(account, response, body)
    return _grant(response, body)


async def _post(
    client: httpx.AsyncClient, account: Account, scope: Document | None, *, catalogue: bool
) -> tuple[httpx.Response, bytes]:
    request = httpx.Request(
        "POST",
        token_url(account.auth_url),
        params=None if catalogue else {"nocatalog": "true"},
        headers=_HEADERS,
        content=json.dumps(document(account, scope)).encode(),
        extensions={"timeout": client.timeout.as_dict()},
    )
    response = await client.send(request, auth=None, stream=True, follow_redirects=False)
    return response, await read_body(response)


def token_url(auth_url: str) -> str:
    """Return the URL of the token request; ``OS_AUTH_URL`` may end in ``/v3`` or not."""
    base = auth_url.rstrip("/").removesuffix("/auth/tokens")
    return f"{base}/auth/tokens" if base.endswith("/v3") else f"{base}/v3/auth/tokens"


def document(account: Account, scope: Document | None) -> Document:
    """Return the body of the token request; an application credential has a scope of its own."""
    return {"auth": {"identity": account.identity.document(), **({"scope": scope} if scope else {})}}


def _refusal(account: Account, response: httpx.Response, body: bytes) -> ApiError:
    """Turn IAM's refusal into an ``ApiError``, as 401 even where IAM answered 400, 403 or 404.

    A 403 would count as one project's missing rights; IAM refuses the account, which all messages use. A
    refusal that is not in IAM's own form comes from a proxy: then IAM is unavailable.
    """
    fault = read_fault(response.status_code, body)
    refused = response.status_code in _REFUSALS or _is_unknown(response.status_code, fault.message)
    denied = refused and is_own(fault)
    return ApiError(
        Category.DENIED if denied else Category.UNAVAILABLE,
        f"sign-in: {fault.message or response.reason_phrase} (check {account.check if denied else _URL})",
        status=HTTPStatus.UNAUTHORIZED.value if denied else response.status_code,
        code=fault.code,
        request_id=request_id(response.headers) or fault.request_id,
        retry_after=retry_after(response.headers, fault.retry_after, fault.message),
    )


def _is_unknown(status: int, message: str) -> bool:
    """Return whether Keystone does not know the credential, user or project; other 404s are a wrong URL."""
    return status == HTTPStatus.NOT_FOUND and message.startswith("Could not find ")


def _grant(response: httpx.Response, body: bytes) -> Grant:
    token = response.headers.get("X-Subject-Token")
    if not token:
        raise _unavailable("the answer of IAM has no token")
    hold_token(token)
    try:
        answer = parse_json(body)
    except Unreadable:
        answer = {}
    details = answer.get("token") if isinstance(answer, dict) else None
    fields = details if isinstance(details, dict) else {}
    return Grant(token, _lifetime(fields, response), read_catalogue(fields))


def _lifetime(fields: Mapping[str, Any], response: httpx.Response) -> float:
    """Return how many seconds the token is valid, by the server's clock, since ours may be wrong."""
    end = _moment(fields.get("expires_at"))
    start = _date(response.headers.get("Date")) or _moment(fields.get("issued_at")) or datetime.now(UTC)
    return (end - start).total_seconds() if end else _DEFAULT_LIFETIME


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _date(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value).replace(tzinfo=UTC) if value else None
    except ValueError:
        return None


def _unavailable(message: str, remedy: str = f"check {_URL}") -> ApiError:
    return ApiError(Category.UNAVAILABLE, f"sign-in: {message}", remedy=remedy)
