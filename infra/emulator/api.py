"""The endpoints of the API: /v2, /v3 and the token request."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.emulator import answers, views
from infra.emulator.auth import Authenticator
from infra.emulator.create import Failure, find_source, make_backup
from infra.emulator.listing import list_backups
from infra.emulator.own_snapshots import Announcer, own_snapshot
from infra.emulator.rules import is_uuid, parse_create
from infra.emulator.settings import Settings
from infra.emulator.store import Backup, Snapshot, Store

MICROVERSION = re.compile(r"volume (?:3\.(\d+)|latest)", re.IGNORECASE)
JSON_TYPES = ("application/json", "application/vnd.openstack.volume+json")
FAILURE_KEY = "emulator.failure"  # the key in the ASGI scope under which the gate passes a fault to `create`

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that passed the sign-in check: its address, body and microversion."""

    address: views.Address
    body: bytes
    microversion: tuple[int, int]


class Api:
    """Answers API calls from a store."""

    def __init__(self, settings: Settings, store: Store, authenticator: Authenticator) -> None:
        self._settings = settings
        self._store = store
        self._authenticator = authenticator
        self._announcer = Announcer(settings.announce, settings.announce_to) if settings.announce else None

    def routes(self) -> list[Route]:
        """Return the routes, which are the same under each version."""
        path, evs_path = self._settings.path, self._settings.evs_path
        routes = [Route("/v3/auth/tokens", self.create_token, methods=["POST"])]
        if self._settings.rules == "cinder":
            routes.append(Route(f"{path}/v3/", self.microversions, methods=["GET"]))
        routes += [Route(f"{each}/", self.versions) for each in {path, evs_path or path}]
        for version in self._versions:
            root = f"{path}/{version}/{{project_id}}"
            evs_root = root if evs_path is None else f"{evs_path}/{version}/{{project_id}}"
            show = Route(f"{evs_root}/snapshots/{{snapshot_id}}", self.show_snapshot, methods=["GET"])
            routes += [
                Route(f"{root}/backups", self.create, methods=["POST"]),
                Route(f"{root}/backups", self.list, methods=["GET"]),
                Route(f"{root}/backups/detail", self.list, methods=["GET"]),
                Route(f"{root}/backups/{{backup_id}}", self.show, methods=["GET"]),
                Route(f"{root}/backups/{{backup_id}}", self.delete, methods=["DELETE"]),
                show,
            ]
            if evs_path is not None:
                routes.append(Route(f"{root}/snapshots/{{snapshot_id}}", self.no_snapshots))
        return routes

    async def microversions(self, request: Request) -> Response:
        """Tell the microversions of v3; as with Cinder behind Keystone, a sign-in is needed."""
        self._authenticator.check(request, None, b"")
        return JSONResponse(views.versions(_base(request), self._settings.microversion))

    @property
    def _versions(self) -> Sequence[str]:
        both = self._settings.versions == "both"
        return ("v2", "v3") if both else (self._settings.versions,)

    async def versions(self, request: Request) -> Response:
        """Name the versions, as Cinder does without a sign-in: 300."""
        href = f"{_base(request)}{request.url.path}"
        return JSONResponse({"versions": [views.version(each, href) for each in self._versions]}, 300)

    async def no_snapshots(self, _request: Request) -> Response:
        """Answer as the gateway of a host that shows no snapshots."""
        message = "The API does not exist or has not been published in the environment"
        raise answers.gateway_error(404, "APIGW.0101", message, uuid.uuid4().hex)

    async def create(self, request: Request) -> Response:
        """Create a backup: 202 with id, name and links."""
        call = await self._admit(request)
        body = _json(request, call.body)
        wanted = parse_create(body, self._settings.rules, call.microversion)
        source = find_source(self._store, self._settings, call.address.project_id, wanted)
        if self._settings.race > 0:
            await asyncio.sleep(self._settings.race)
        failure: Failure | None = request.scope.get(FAILURE_KEY)
        backup = make_backup(self._store, self._settings, source, wanted, body, failure)
        if self._announcer:
            snapshot = own_snapshot(backup, len(self._store.backups) - 1)
            self._store.declare(snapshot)
            await asyncio.to_thread(self._announcer.announce, snapshot)
        return _answer(call, {"backup": views.summary(backup, call.address)}, 202)

    async def list(self, request: Request) -> Response:
        """List backups, as summaries or in detail."""
        call = await self._admit(request)
        page = list_backups(
            self._store, call.address.project_id, dict(request.query_params), call.microversion
        )
        if request.url.path.endswith("/detail"):
            shown = [self._detail(backup, call) for backup in page.backups]
        else:
            shown = [views.summary(backup, call.address) for backup in page.backups]
        body: views.Json = {"backups": shown}
        if page.next_query is not None:
            href = f"{_base(request)}{request.url.path}?{page.next_query}"
            body["backups_links"] = [{"rel": "next", "href": href}]
        if page.count is not None:
            body["count"] = page.count
        return _answer(call, body)

    async def show(self, request: Request) -> Response:
        """Show a backup."""
        call = await self._admit(request)
        return _answer(call, {"backup": self._detail(self._backup(request), call)})

    async def delete(self, request: Request) -> Response:
        """Delete a backup: 202, empty."""
        call = await self._admit(request)
        backup = self._backup(request)
        if backup.status_at(self._store.clock()) not in ("available", "error"):
            raise answers.bad_request("Invalid backup: Backup status must be available or error")
        self._store.delete(backup)
        return Response(b"", 202, _version_headers(call), "application/json")

    async def show_snapshot(self, request: Request) -> Response:
        """Show a snapshot; unless `strict`, an unknown snapshot exists and is available."""
        call = await self._admit(request)
        snapshot = self._snapshot(request, call.address.project_id)
        return _answer(call, {"snapshot": views.snapshot_detail(snapshot, self._store.clock())})

    async def create_token(self, request: Request) -> Response:
        """Sign in: 201 with the token in X-Subject-Token."""
        body = _json(request, await _read(request))
        token, shown = self._authenticator.sign_in(body, _base(request))
        if "nocatalog" in request.query_params:
            del shown["token"]["catalog"]
        return JSONResponse(shown, 201, {"X-Subject-Token": token.value})

    async def _admit(self, request: Request) -> Call:
        """Check a call's size, sign-in and microversion."""
        body = await _read(request)
        project_id = request.path_params["project_id"]
        self._authenticator.check(request, project_id, body)
        version = "v2" if "/v2/" in request.url.path else "v3"
        microversion = _microversion(request, self._settings.microversion) if version == "v3" else (2, 0)
        base = f"{_base(request)}{self._settings.path}"
        return Call(views.Address(base, version, project_id), body, microversion)

    def _detail(self, backup: Backup, call: Call) -> views.Json:
        return views.detail(
            backup, call.address, self._store.clock(), self._settings.rules, call.microversion
        )

    def _backup(self, request: Request) -> Backup:
        backup_id = request.path_params["backup_id"]
        backup = self._store.backup(request.path_params["project_id"], backup_id)
        if backup is None:
            raise answers.not_found("Backup", backup_id)
        return backup

    def _snapshot(self, request: Request, project_id: str) -> Snapshot:
        snapshot_id = request.path_params["snapshot_id"]
        snapshot = self._store.snapshot(project_id, snapshot_id)
        if snapshot is not None:
            return snapshot
        if self._settings.strict or snapshot_id in self._store.snapshots or not is_uuid(snapshot_id):
            raise answers.not_found("Snapshot", snapshot_id)
        snapshot = Snapshot(snapshot_id, project_id, created_at=self._store.clock())
        self._store.declare(snapshot)
        return snapshot


async def _read(request: Request) -> bytes:
    """Read the body, at most as much of it as Cinder accepts."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > answers.MAX_BODY_BYTES:
            raise answers.too_large()
    return body


def _json(request: Request, body: bytes) -> object:
    """Parse the body as JSON. Raises Cinder's ApiError if it is not."""
    if not body:
        raise answers.server_error()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in JSON_TYPES:
        raise answers.unsupported_media_type()
    try:
        decoded: object = json.loads(body)
    except (ValueError, RecursionError):
        raise answers.bad_request("Malformed request body") from None
    return decoded


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', 'localhost')}"


def _microversion(request: Request, newest: int) -> tuple[int, int]:
    """Parse `OpenStack-API-Version: volume 3.N`; the default is 3.0. Raises ApiError (406)."""
    match = MICROVERSION.fullmatch(request.headers.get("openstack-api-version", "volume 3.0").strip())
    minor = newest if match is None or match[1] is None else int(match[1])
    if match is None or minor > newest:
        message = f"Version is not supported by the API. Minimum is 3.0 and maximum is 3.{newest}."
        raise answers.ApiError(406, answers.fault_body(406, message))
    return (3, minor)


def _version_headers(call: Call) -> dict[str, str]:
    major, minor = call.microversion
    return {"OpenStack-API-Version": f"volume {major}.{minor}"} if major == 3 else {}


def _answer(call: Call, body: views.Json, status: int = 200) -> Response:
    return JSONResponse(body, status, _version_headers(call))
