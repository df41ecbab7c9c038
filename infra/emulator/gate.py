"""The outermost ASGI application: counts, request ids and faults (see faults.py) for every call."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.emulator.answers import FAULT_NAMES, fault_body
from infra.emulator.api import FAILURE_KEY
from infra.emulator.create import Failure
from infra.emulator.faults import Effect, Fault, FaultPlan, Route, raw_answer
from infra.emulator.stats import Stats

CONTROL = "/_emulator"
DEFAULT_STATUS = 503
_PATH = r"(?:/[\w.~-]+)*?"  # before the version in the URLs of an endpoint
ROUTES: tuple[tuple[str, re.Pattern[str], Route], ...] = (
    ("POST", re.compile(r"/v3/auth/tokens"), "token"),
    ("POST", re.compile(rf"{_PATH}/v[23]/[^/]+/backups"), "create"),
    ("GET", re.compile(rf"{_PATH}/v[23]/[^/]+/backups(/detail)?"), "list"),
    ("GET", re.compile(rf"{_PATH}/v[23]/[^/]+/backups/[^/]+"), "show"),
    ("DELETE", re.compile(rf"{_PATH}/v[23]/[^/]+/backups/[^/]+"), "delete"),
    ("GET", re.compile(rf"{_PATH}/v[23]/[^/]+/snapshots/[^/]+"), "snapshot"),
    ("GET", re.compile(rf"(?!.*/v[23]/$){_PATH}/"), "versions"),
)

ConnectionOf = Callable[[Scope], asyncio.Transport | None]
Handler = Callable[[Fault, Scope, Receive, Send], Awaitable[int | None]]


def route_of(method: str, path: str) -> Route:
    """Return the name of a call's route, for faults and counts."""
    for verb, pattern, route in ROUTES:
        if verb == method and pattern.fullmatch(path):
            return route
    return "other"


def _project_of(path: str) -> str | None:
    """Return the project id in a path of the API."""
    found = re.match(rf"{_PATH}/v[23]/([^/]+)/", path)
    return found[1] if found else None


class Gate:
    """Counts each call and applies the faults."""

    def __init__(self, app: ASGIApp, faults: FaultPlan, stats: Stats, connection_of: ConnectionOf) -> None:
        self._app = app
        self._faults = faults
        self._stats = stats
        self._connection_of = connection_of
        self._late: set[asyncio.Task[int | None]] = set()
        self._effects: Mapping[Effect, Handler] = {
            "status": self._status,
            "delay": self._delay,
            "drop_before": self._drop,
            "drop_after": self._drop_after,
            "hang": self._hang,
            "garbage": self._garbage,
            "raw": self._raw,
            "fail_later": self._fail_later,
            "late_commit": self._late_commit,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        route = route_of(scope["method"], scope["path"])
        fault = self._faults.draw(route, _project_of(scope["path"]), scope["path"])
        send = _with_request_id(send)
        if fault is None:
            status = await self._work(scope, receive, send)
        else:
            status = await self._effects[fault.effect](fault, scope, receive, send)
        self._stats.count(route, status)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> int | None:
        """Let the API answer, and return its status."""
        status: int | None = None

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, note_status)
        return status

    async def _status(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> int:
        await _pause(fault)
        await _read(receive)
        status = fault.status or DEFAULT_STATUS
        await _fault_response(fault, status)(scope, receive, send)
        return status

    async def _delay(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> int | None:
        body = await _read(receive)
        await asyncio.sleep(1.0 if fault.seconds is None else fault.seconds)
        return await self._work(scope, _replay(body), send)

    async def _drop(self, fault: Fault, scope: Scope, receive: Receive, _send: Send) -> None:
        await _pause(fault)
        await self._hang_up(scope, receive)

    async def _drop_after(self, fault: Fault, scope: Scope, receive: Receive, _send: Send) -> None:
        await _pause(fault)
        await self._work(scope, receive, _discard)
        await self._hang_up(scope, receive)

    async def _hang(self, fault: Fault, scope: Scope, receive: Receive, _send: Send) -> None:
        try:
            async with asyncio.timeout(fault.seconds):
                await _disconnected(receive)
        except TimeoutError:
            await self._hang_up(scope, receive)

    async def _garbage(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> int | None:
        await _pause(fault)
        status, body = await self._answer(scope, receive)
        garbage = body[: len(body) // 2] if fault.body is None else _raw(fault.body)
        headers = {"content-type": "application/json", **fault.headers}
        answer = Response(garbage, fault.status or status or 200, headers)
        await answer(scope, receive, send)
        return answer.status_code

    async def _raw(self, fault: Fault, scope: Scope, receive: Receive, _send: Send) -> int | None:
        status, body = await self._answer(scope, receive)
        if (connection := self._connection_of(scope)) is not None:
            connection.write(raw_answer(str(fault.body), body))
            if fault.seconds is None:
                connection.close()  # after everything is sent
                await _disconnected(receive)
            else:
                await self._hang(fault, scope, receive, _send)
        return status

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int | None, bytes]:
        """Let the API answer, and return its status and body; nothing is sent."""
        parts: list[Message] = []

        async def keep(message: Message) -> None:
            parts.append(message)

        status = await self._work(scope, receive, keep)
        return status, b"".join(part.get("body", b"") for part in parts)

    async def _fail_later(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> int | None:
        scope[FAILURE_KEY] = Failure(fault.fail_reason, fault.seconds)
        return await self._work(scope, receive, send)

    async def _late_commit(self, fault: Fault, scope: Scope, receive: Receive, _send: Send) -> None:
        body = await _read(receive)
        late = asyncio.create_task(self._work_late(fault, scope, body))
        self._late.add(late)
        late.add_done_callback(self._late.discard)
        await self._hang_up(scope, receive)

    async def _work_late(self, fault: Fault, scope: Scope, body: bytes) -> int | None:
        await asyncio.sleep(1.0 if fault.seconds is None else fault.seconds)
        return await self._work(scope, _replay(body), _discard)

    async def _hang_up(self, scope: Scope, receive: Receive) -> None:
        """Close the connection and wait until the server has noticed, so that it sends no answer itself."""
        if (connection := self._connection_of(scope)) is not None:
            connection.abort()
        await _disconnected(receive)


def _with_request_id(send: Send) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            request_id = (b"x-openstack-request-id", f"req-{uuid.uuid4()}".encode())
            message["headers"] = [*message["headers"], request_id]
        await send(message)

    return send_with_id


async def _pause(fault: Fault) -> None:
    if fault.seconds:
        await asyncio.sleep(fault.seconds)


async def _read(receive: Receive) -> bytes:
    """Read the whole body, so that the answer follows after the caller has sent everything."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


async def _disconnected(receive: Receive) -> None:
    """Wait until the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _replay(body: bytes) -> Receive:
    """Return a `receive` that delivers a body that has been read already."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _discard(_message: Message) -> None:
    """Send nothing."""


def _raw(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _fault_response(fault: Fault, status: int) -> Response:
    """Return the fault's body (text unchanged, anything else as JSON), or an error in Cinder's shape."""
    if fault.body is None:
        message = FAULT_NAMES.get(status, "the emulator was told to give this answer")
        body = fault_body(status, message)
        return Response(_raw(body), status, {"content-type": "application/json", **fault.headers})
    kind = "text/html" if isinstance(fault.body, str) else "application/json"
    return Response(_raw(fault.body), status, {"content-type": kind, **fault.headers})
