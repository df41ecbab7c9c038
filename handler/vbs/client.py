"""The client of the VBS API over httpx: create, find and show backups, show snapshots.

Requests are built here and sent with ``client.send``. ``client.post`` would compute headers and URLs anew for
each call although they do not change (``python -m tests.bench.transports`` measures both). Where it can be,
a create call is sent by ``lean`` instead, which gives the same.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from events.outcome import AcceptedBackup, Category
from events.snapshot import ProjectId
from handler.backup.hooks import Call, OnCall, Route, noop
from handler.backup.ports import Backup, Chain, Snapshot
from handler.backup.request import BackupRequest
from handler.causes import Setting
from handler.errors import ApiError
from handler.vbs import answers, faults, pages
from handler.vbs.chain import chain
from handler.vbs.endpoints import HEADERS, Endpoints, Fixed
from handler.vbs.exchange import Answer, Attempt
from handler.vbs.lean import LeanCreates
from handler.vbs.microversions import (
    METADATA,
    NONE,
    ZONE,
    Microversion,
    Microversions,
    about_version,
    parse_versions,
)
from handler.vbs.transport.body import Unreadable, parse_json, read_body
from handler.vbs.transport.deadlines import Deadlines
from handler.vbs.transport.unanswered import (
    ANSWERED,
    NO_ANSWER,
    ONCE,
    RENEWED,
    SIGNING_IN,
    never_left,
    no_answer,
)

_MAX_PAGES = 50
_RENEWED_TEXT = "the token was refused and has been renewed; a lookup comes before the next request"
_VERSION_TIMEOUT = 5.0
_VERSION_DOCUMENT = (200, 300)
_VERSION_REFUSED = (400, 406)
_BACKUPS = Setting("VBS_ENDPOINT", "VBS_CA_FILE")
_SNAPSHOTS = Setting("EVS_ENDPOINT or VBS_ENDPOINT", "VBS_CA_FILE")
_PROJECT_ID: TypeAdapter[str] = TypeAdapter(ProjectId)

T = TypeVar("T")


class VbsClient:
    """Implements ``handler.backup.ports.Api`` over one ``httpx.AsyncClient``, which ``aclose`` closes.

    ``timeout`` is the limit in seconds for each step of a call (connect, write, read). A whole call, with its
    sign-in and body, may take twice as long. Redirects are errors; links in answers are never followed.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        endpoint: str | Endpoints,
        *,
        version: str = "v2",
        auth: httpx.Auth | None = None,
        timeout: float = 30.0,
        notify: OnCall = noop,
    ) -> None:
        self._client = client
        self._notify = notify
        self._auth = auth
        self._deadlines = Deadlines(2 * timeout)
        self._timeout = httpx.Timeout(timeout).as_dict()
        self._endpoints = Fixed(endpoint, version) if isinstance(endpoint, str) else endpoint
        self._microversions = Microversions(self._ask_microversion)
        self._lean = LeanCreates(client, auth, self._post, self._timeout)

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        """Request a backup. An ``ApiError`` of category ``in_doubt`` means that the backup may exist."""
        root = self._endpoints.backups or await self._endpoints.find("backups")
        version = await self._microversions.for_create(root, project_id, request)
        body = request.body(metadata=version >= METADATA, zone=version >= ZONE)
        answer, extensions = await self._send_create(root, project_id, version, body)
        if extensions.get(RENEWED):
            raise ApiError(Category.DENIED, _RENEWED_TEXT, status=answer.status, renewed=True)
        if not answer.is_success:
            error = self._refused(faults.create_error(answer.status, answer.headers, answer.body))
            raise error if version == NONE else self._version_refused(root, error)
        return _read(answer, answers.accepted, otherwise=Category.IN_DOUBT)

    async def _send_create(
        self, root: str, project_id: str, version: Microversion, body: bytes
    ) -> tuple[Answer, Mapping[str, object]]:
        """Send the request once; return the answer, and what the sign-in noted beside the request."""
        if _segment(project_id) == project_id and (call := self._lean.call(root, project_id, version, body)):
            attempt = call.attempt()
            return await self._within(attempt, call.send, lost=Category.IN_DOUBT), attempt.extensions
        post = self._post(root, project_id, body, version)
        return await self._exchange("create", post, lost=Category.IN_DOUBT), post.extensions

    async def supports(self, major: int, minor: int, *, project_id: str) -> bool:
        """Return whether the API knows a microversion; the version document is read once."""
        root = self._endpoints.backups or await self._endpoints.find("backups")
        newest = await self._microversions.newest(root, project_id)
        return newest >= Microversion(major, minor)

    def _version_refused(self, root: str, error: ApiError) -> ApiError:
        """Return the error of a create call with a microversion; a lookup follows if that is the reason."""
        if not about_version(error):
            return error
        self._microversions.refused(root)
        return replace(error, category=Category.CONFLICT, busy=True)

    async def check(self, project_id: str) -> None:
        """Read one backup of the project's list, to know whether the API accepts our account there."""
        url = await self._backups(project_id, "/backups")
        url = url.copy_with(params={"limit": "1"})
        answer = await self._get("list", project_id, url)
        if not answer.is_success:
            raise self._refused(faults.lookup_error(answer.status, answer.headers, answer.body))
        _read(answer, parse_json, otherwise=Category.UNAVAILABLE)

    async def find(self, project_id: str, volume_id: str, snapshot_id: str, name: str) -> Sequence[Backup]:
        """Return all backups of this snapshot from all pages, oldest first.

        The API has no filter ``snapshot_id``: old releases ignore it, new ones refuse it. So this lists the
        volume's backups and compares them here.
        """
        backups = await self._backups_of(project_id, volume_id)
        return sorted((b for b in backups if pages.belongs(b, snapshot_id, name)), key=pages.age)

    async def chain(self, project_id: str, volume_id: str) -> Chain:
        """Return the chain of backups that an incremental backup of the volume would be added to."""
        return chain(await self._backups_of(project_id, volume_id), volume_id)

    async def _backups_of(self, project_id: str, volume_id: str) -> Iterable[Backup]:
        """Return all backups of a volume, from all pages."""
        found: dict[str, Backup] = {}
        seen: list[pages.Cursor] = []
        cursor: pages.Cursor | None = {}
        while cursor is not None:
            if cursor in seen or len(seen) == _MAX_PAGES:
                raise ApiError(
                    Category.UNAVAILABLE,
                    f"the list of backups repeats or does not end: {len(seen)} pages read",
                )
            seen.append(cursor)
            page = await self._page(project_id, volume_id, cursor)
            found.update((b.id, b) for b in page.backups)
            cursor = page.next
        return found.values()

    async def show(self, project_id: str, backup_id: str) -> Backup | None:
        """Return the backup, or None if the API itself answers that there is none."""
        url = await self._backups(project_id, f"/backups/{_checked(backup_id)}")
        return await self._show("show", project_id, url, lambda body: answers.backup(_inner(body, "backup")))

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """Return the snapshot, or None if the API itself answers that there is none."""
        root = self._endpoints.snapshots or await self._endpoints.find("snapshots")
        url = _url(root, project_id, f"/snapshots/{_checked(snapshot_id)}")
        return await self._show(
            "snapshot", project_id, url, lambda body: answers.snapshot(_inner(body, "snapshot"))
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _backups(self, project_id: str, path: str) -> httpx.URL:
        """Return a URL of the backups' endpoint."""
        root = self._endpoints.backups or await self._endpoints.find("backups")
        return _url(root, project_id, path)

    def _post(self, root: str, project_id: str, body: bytes, version: Microversion) -> httpx.Request:
        """Build the create call's request; with ``content=`` httpx would compute constant headers anew."""
        url = _url(root, project_id, "/backups")
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            **HEADERS,
            **version.header(),
            "Content-Length": str(len(body)),
        }
        post = httpx.Request(
            "POST",
            url,
            headers=headers,
            stream=httpx.ByteStream(body),
            extensions={**self._extensions(project_id), ONCE: True},
        )
        post.read()
        return post

    async def _page(self, project_id: str, volume_id: str, cursor: pages.Cursor) -> pages.Page:
        url = await self._backups(project_id, "/backups/detail")
        query = {"limit": str(pages.PAGE_SIZE), **cursor, "volume_id": _checked(volume_id)}
        url = url.copy_with(params=query)
        version = METADATA if await self.supports(*METADATA, project_id=project_id) else NONE
        answer = await self._get("list", project_id, url, version.header())
        if version != NONE and answer.status in _VERSION_REFUSED:
            answer = await self._get("list", project_id, url)
            if answer.is_success:
                self._microversions.refused(self._endpoints.backups or "")
        if not answer.is_success:
            raise self._refused(faults.lookup_error(answer.status, answer.headers, answer.body))
        return _read(answer, pages.read_page, otherwise=Category.UNAVAILABLE)

    async def _show(
        self, route: Route, project_id: str, url: httpx.URL, read: Callable[[bytes], T]
    ) -> T | None:
        answer = await self._get(route, project_id, url)
        if faults.says_absent(answer.status, answer.body):
            return None
        if not answer.is_success:
            raise self._refused(faults.lookup_error(answer.status, answer.headers, answer.body))
        return _read(answer, read, otherwise=Category.UNAVAILABLE)

    async def _get(
        self, route: Route, project_id: str, url: httpx.URL, version: Mapping[str, str] = MappingProxyType({})
    ) -> Answer:
        headers = {**HEADERS, **version}
        get = httpx.Request("GET", url, headers=headers, extensions=self._extensions(project_id))
        return await self._exchange(route, get, lost=Category.UNAVAILABLE)

    async def _ask_microversion(self, root: str, project_id: str) -> Microversion:
        """Read the version document, which must not delay a create for long."""
        timeout = httpx.Timeout(_VERSION_TIMEOUT).as_dict()
        extensions = {**self._extensions(project_id), "timeout": timeout}
        get = httpx.Request("GET", f"{root}/", headers=HEADERS, extensions=extensions)
        answer = await self._exchange("version", get, lost=Category.UNAVAILABLE)
        if answer.status not in _VERSION_DOCUMENT:
            raise faults.lookup_error(answer.status, answer.headers, answer.body)
        return _read(answer, parse_versions, otherwise=Category.UNAVAILABLE)

    async def _exchange(self, route: Route, request: httpx.Request, *, lost: Category) -> Answer:
        """Send a request and read the whole answer; see ``_within``."""
        request.headers.encoding = "ascii"

        async def send(attempt: Attempt) -> Answer:
            response = await self._client.send(request, auth=self._auth, stream=True, follow_redirects=False)
            attempt.status = response.status_code
            return Answer(response.status_code, response.headers.raw, await read_body(response))

        attempt = Attempt(route, request.method, request.url.host, request.extensions)
        return await self._within(attempt, send, lost=lost)

    async def _within(
        self, attempt: Attempt, send: Callable[[Attempt], Awaitable[Answer]], *, lost: Category
    ) -> Answer:
        """Send a request within the deadline of a call, and report the call.

        ``lost`` is the error's category if the request may have left and no usable answer came.
        """
        began = time.perf_counter()
        running = self._deadlines.begin()
        try:
            async with running:
                return await send(attempt)
        except NO_ANSWER as error:
            working = not (never_left(error) or attempt.extensions.get(SIGNING_IN))
            if not working:
                self._endpoints.doubt()
            setting = _SNAPSHOTS if attempt.route == "snapshot" else _BACKUPS
            text, remedy = no_answer(attempt.host, error, setting)
            raise ApiError(
                lost if working else Category.UNAVAILABLE,
                text,
                status=attempt.status,
                sent=working or bool(attempt.extensions.get(ANSWERED)),
                remedy=remedy,
            ) from None
        except ApiError as error:
            error.sent = bool(attempt.extensions.get(ANSWERED))  # of the sign-in
            raise
        finally:
            self._deadlines.end(running)
            seconds = time.perf_counter() - began
            call = Call(attempt.route, attempt.method, attempt.host, attempt.status, seconds, time.time())
            self._notify(call)

    def _refused(self, error: ApiError) -> ApiError:
        """Return the error; doubt the endpoint where the answer is another program's, as at a wrong path."""
        if error.category is Category.UNAVAILABLE and not error.from_api:
            self._endpoints.doubt()
        return error

    def _extensions(self, project_id: str) -> dict[str, object]:
        """Return the request's extensions; the sign-in uses the token of ``project_id``."""
        return {"timeout": self._timeout, "project_id": project_id}


def _url(root: str, project_id: str, path: str) -> httpx.URL:
    """Return the URL of a project and a path. Nothing is kept: many projects cost no more than one."""
    return httpx.URL(f"{root}/{_segment(project_id)}{path}")


def _segment(project_id: str) -> str:
    """Return the project id as it is in URLs. Raises ``ApiError`` if it is not one segment of a path."""
    try:
        return _PROJECT_ID.validate_python(project_id)
    except ValidationError:
        raise ApiError(
            Category.INVALID,
            "the project id cannot be part of a URL: it must be 1 to 64 letters, digits, _ or -",
        ) from None


def _checked(resource_id: str) -> str:
    if not answers.is_uuid(resource_id):
        raise ApiError(Category.INVALID, "the id cannot be part of a URL: it is not a UUID")
    return resource_id


def _inner(body: bytes, name: str) -> answers.Object:
    return answers.member(parse_json(body), name)


def _read(answer: Answer, read: Callable[[bytes], T], *, otherwise: Category) -> T:
    try:
        return read(answer.body)
    except Unreadable as error:
        message = f"no usable answer: {error}"
        raise ApiError(
            otherwise, message, status=answer.status, request_id=faults.request_id(answer.headers)
        ) from None
