"""Checks of the API: sign-in, endpoints, every route that handling needs, and the clock (``Date`` header).

Each look changes nothing. A create is not sent: the list at its very path shows whether the path is right.
"""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from http import HTTPStatus

import httpx

from events.outcome import Category
from handler.causes import Setting, explain
from handler.doctor.clock import Clocks
from handler.doctor.findings import Finding
from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs import faults, pages
from handler.vbs.auth.aksk import AkSkAuth
from handler.vbs.auth.catalogue import catalogue_of
from handler.vbs.auth.choose import SignIn, choose_auth, select_sign_in
from handler.vbs.auth.password import PasswordAuth
from handler.vbs.auth.token import TokenAuth
from handler.vbs.cloud.choose import choose_endpoints
from handler.vbs.endpoints import HEADERS
from handler.vbs.transport.body import Unreadable, read_body
from handler.vbs.transport.http import http_client
from handler.vbs.transport.unanswered import NO_ANSWER, describe

_ENDPOINT = Setting("VBS_ENDPOINT", "VBS_CA_FILE")
_SIGN_IN = Setting("OS_AUTH_URL", "VBS_CA_FILE")
_LONGEST_CALL = 10.0
_NONE = "00000000-0000-4000-8000-000000000000"
"""The id of no backup and no snapshot."""

_SNAPSHOTS = (
    "EVS_ENDPOINT: set it to the host that shows snapshots, such as https://evs.region.example.com; until "
    "then events that only prove that a snapshot was requested wait, and expire after MAX_AGE"
)


async def examine_api(settings: Settings) -> AsyncIterator[Finding]:
    """Sign in to each cloud, and ask every route of it once, as a worker would."""
    settings = settings.model_copy(update={"vbs_timeout": min(settings.vbs_timeout, _LONGEST_CALL)})
    sign_in = select_sign_in(settings)
    if len(sign_in.accounts) == 1 or not sign_in.accounts:
        async for finding in _examine_cloud(settings, sign_in):
            yield finding
        return
    # Each cloud is asked in the project that it is signed in to.
    settings = settings.model_copy(update={"vbs_project_id": None, "vbs_allowed_projects": ()})
    for each in sign_in.each:
        name = each.account.name if each.account else ""
        async for finding in _examine_cloud(settings, each):
            yield replace(finding, what=f"cloud {name}: {finding.what}")


async def _examine_cloud(settings: Settings, sign_in: SignIn) -> AsyncIterator[Finding]:
    async with http_client(settings, sign_in.tls, sign_in.auth_url) as client:
        check = _ApiCheck(settings, client, choose_auth(settings, client, sign_in=sign_in), sign_in)
        async for finding in check.examine():
            yield finding
    yield check.clocks.finding()


class _ApiCheck:
    """The calls to the API with one client and sign-in, and the findings from the answers."""

    def __init__(
        self, settings: Settings, client: httpx.AsyncClient, auth: httpx.Auth | None, sign_in: SignIn
    ) -> None:
        self._settings = settings
        self._client = client
        self._auth = auth
        self._sign_in = sign_in
        self.clocks = Clocks()
        self._endpoints = choose_endpoints(settings, client, auth, sign_in.account)
        self._endpoint = settings.vbs_endpoint or "catalogue"
        self._version = ""

    async def examine(self) -> AsyncIterator[Finding]:
        """Sign in, find the endpoints and list the backups; if that works, try the other routes."""
        try:
            project = await self._project()
            await catalogue_of(self._auth)
        except ApiError as error:
            yield _not_signed_in(error, self._sign_in)
            return
        try:
            root = await self._endpoints.find("backups")
        except ApiError as error:
            yield Finding("api", "endpoint", "bad", error.message, "set VBS_ENDPOINT, or what the text names")
            return
        self._endpoint, _, self._version = root.rpartition("/")
        if project is None:
            yield await self._answered(self._without_project())
            return
        listed = await self._answered(self._list(project))
        yield listed
        if listed.state == "ok":
            yield await self._answered(self._create(root, project))
            yield await self._answered(self._show(root, project))
            yield await self._snapshot(project)

    async def _answered(self, look: Awaitable[Finding]) -> Finding:
        """Return the finding of a look, also where it has no answer."""
        try:
            return await look
        except ApiError as error:
            return _not_signed_in(error, self._sign_in)
        except NO_ANSWER as error:
            text, remedy = explain(_ENDPOINT, describe(error))
            return Finding("api", self._endpoint, "bad", text, remedy)

    async def _create(self, root: str, project: str) -> Finding:
        url = f"{root}/{project}/backups"
        response, body = await self._get(url, project, self._auth)
        if response.is_success:
            return Finding("api", "create", "ok", f"{url} answers; no backup was requested")
        error = faults.lookup_error(response.status_code, response.headers, body)
        return self._refused(error, project, "create")

    async def _show(self, root: str, project: str) -> Finding:
        """Ask for a backup that does not exist: that the API says so shows that the route works."""
        response, body = await self._get(f"{root}/{project}/backups/{_NONE}", project, self._auth)
        if response.is_success or faults.says_absent(response.status_code, body):
            return Finding("api", "show backup", "ok", "answers")
        error = faults.lookup_error(response.status_code, response.headers, body)
        return self._refused(error, project, "show backup")

    async def _snapshot(self, project: str) -> Finding:
        """Ask for a snapshot that does not exist, at its own host. Only some events need the route."""
        root = "EVS_ENDPOINT"
        try:
            root = await self._endpoints.find("snapshots")
            url = f"{root}/{project}/snapshots/{_NONE}"
            response, body = await self._get(url, project, self._auth)
        except ApiError as error:
            return Finding("api", "show snapshot", "warning", error.message, _SNAPSHOTS)
        except NO_ANSWER as error:
            text, remedy = explain(Setting("EVS_ENDPOINT", "VBS_CA_FILE"), describe(error))
            return Finding("api", "show snapshot", "warning", f"{root}: {text}", remedy)
        if response.is_success or faults.says_absent(response.status_code, body):
            return Finding("api", "show snapshot", "ok", f"{root} answers")
        refusal = faults.lookup_error(response.status_code, response.headers, body)
        return Finding("api", "show snapshot", "warning", f"{root} shows none: {refusal}", _SNAPSHOTS)

    async def _project(self) -> str | None:
        settings = self._settings
        account = self._sign_in.account
        own = account.project_id if account else settings.os_project_id
        known = settings.vbs_project_id or next(iter(settings.vbs_allowed_projects), own)
        if known is None and isinstance(self._auth, PasswordAuth):
            return (await self._auth.catalogue()).project_id
        return known

    async def _without_project(self) -> Finding:
        response, _ = await self._get(f"{self._endpoint}/{self._version}/", None, None)
        text = f"answers ({response.status_code}); sign-in and list were not tried: no project is known"
        return Finding("api", self._endpoint, "warning", text, "set VBS_PROJECT_ID, at least for this check")

    async def _list(self, project: str) -> Finding:
        version = self._version
        response, body = await self._list_call(version, project)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return await self._try_other_version(version, project)
        if not response.is_success:
            error = faults.lookup_error(response.status_code, response.headers, body)
            return self._refused(error, project, "list of backups")
        try:
            pages.read_page(body)
        except Unreadable as error:
            text = f"the host answers, but it is not the API: {error}"
            return Finding("api", "list of backups", "bad", text, "VBS_ENDPOINT: check the host name")
        return Finding("api", "list of backups", "ok", f"{self._endpoint}/{version} answers for {project}")

    async def _try_other_version(self, version: str, project: str) -> Finding:
        """Try the other version of the API."""
        other = "v3" if version == "v2" else "v2"
        response, _ = await self._list_call(other, project)
        text = f"{self._endpoint}/{version} is not a path of the API (404)"
        if response.status_code != HTTPStatus.NOT_FOUND:
            text += f", /{other} is ({response.status_code})"
            return Finding("api", "list of backups", "bad", text, f"VBS_API_VERSION={other}")
        remedy = "VBS_ENDPOINT: check the host name; VBS_API_VERSION: v2 or v3"
        return Finding("api", "list of backups", "bad", f"{text}, nor is /{other}", remedy)

    async def _list_call(self, version: str, project: str) -> tuple[httpx.Response, bytes]:
        return await self._get(f"{self._endpoint}/{version}/{project}/backups/detail", project, self._auth)

    async def _get(
        self, url: str, project: str | None, auth: httpx.Auth | None
    ) -> tuple[httpx.Response, bytes]:
        timeout = httpx.Timeout(self._settings.vbs_timeout).as_dict()
        request = httpx.Request(
            "GET",
            url,
            params={"limit": "1"},
            headers=HEADERS,
            extensions={"timeout": timeout, "project_id": project},
        )
        response = await self._client.send(request, auth=auth, stream=True, follow_redirects=False)
        self.clocks.note(response)
        return response, await read_body(response)

    def _refused(self, error: ApiError, project: str, route: str) -> Finding:
        remedy = "run doctor again; if it stays, ask the operator of the API"
        if error.status == HTTPStatus.UNAUTHORIZED:
            remedy = _credentials(self._auth)
        elif error.status == HTTPStatus.FORBIDDEN or error.category is Category.DENIED:
            remedy = "give the account a role that may list and create volume backups in this project"
        elif error.status == HTTPStatus.BAD_REQUEST:
            remedy = f"check VBS_PROJECT_ID ({project}) and OS_PROJECT_ID: the token may be of another one"
        elif error.status is not None and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            remedy = "check VBS_ENDPOINT: it must be scheme, host, port and path of the API"
        return Finding("api", route, "bad", f"refused: {error}", remedy)


def _credentials(auth: httpx.Auth | None) -> str:
    """Return the remedy if the API rejects the credentials (401)."""
    match auth:
        case None:
            return "the API requires a sign-in: set OS_PASSWORD, OS_TOKEN or HUAWEICLOUD_SDK_AK (see README)"
        case TokenAuth():
            return "OS_TOKEN: expired, or of another cloud; get a new one, or sign in with OS_PASSWORD"
        case AkSkAuth():
            return "check HUAWEICLOUD_SDK_AK, _SK and _SECURITY_TOKEN, and this machine's clock"
        case _:
            return "the API rejects the token of OS_AUTH_URL: check that VBS_ENDPOINT is of the same cloud"


def _not_signed_in(error: ApiError, sign_in: SignIn) -> Finding:
    if error.category is Category.DENIED:
        check = sign_in.account.check if sign_in.account else "the credentials"
        remedy = f"check {check} before you try again: a few wrong attempts lock the account"
        return Finding("api", "sign-in", "bad", f"refused: {error}", remedy)
    text, remedy = (str(error), error.remedy) if error.remedy else explain(_SIGN_IN, str(error))
    return Finding("api", "sign-in", "bad", text, remedy)
