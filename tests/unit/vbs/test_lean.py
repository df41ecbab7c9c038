"""Lean create calls send the bytes that httpx's requests have, and their answers are read alike."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from events.outcome import AcceptedBackup
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs.auth import aksk, lean_keys
from handler.vbs.auth.agency import AgencyAuth
from handler.vbs.auth.aksk import AkSkAuth
from handler.vbs.auth.keys import Keys
from handler.vbs.auth.password import PasswordAuth, _Token
from handler.vbs.auth.token import TokenAuth
from handler.vbs.client import VbsClient
from handler.vbs.endpoints import Fixed
from handler.vbs.microversions import METADATA, NONE, Microversion
from handler.vbs.transport import http
from tests.unit.vbs.auth.cloud import password_account
from tests.unit.vbs.wired import Answer, WiredClient, plain_client
from tests.unit.vbs.world import ACCEPTED, BACKUP, ENDPOINT, OTHER_PROJECT, PROJECT, REQUEST

encoded = pytest.importorskip(
    "handler.vbs.transport.pool", reason="the extra `fast` is not installed"
).encoded

EXAMPLES = settings(max_examples=300, deadline=None)
NOW = datetime(2026, 3, 4, 2, 15, tzinfo=UTC)
SHOWN = ("category", "message", "status", "code", "request_id", "retry_after", "busy", "sent", "from_api")

ROOTS = st.builds(
    "{}://{}{}{}/v3".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["vbs.example.com", "10.0.0.1", "[::1]", "bücher.example"]),
    st.sampled_from(["", ":8776", ":80"]),
    st.sampled_from(["", "/volume", "/a%20b/100%", "/ü/~x", "/0/Content-Length"]),
)
PROJECTS = st.from_regex(r"\A[0-9A-Za-z_-]{1,64}\Z", alphabet=st.characters(max_codepoint=127))
REQUESTS = st.builds(
    lambda name, text, zone: BackupRequest(
        **REQUEST.model_dump(exclude={"name", "description"}),
        name=name,
        description=text,
        availability_zone=zone,
        event_id="e",
    ),
    st.from_regex(r"\A[0-9A-Z_-]{1,64}\Z"),
    st.none() | st.from_regex(r"\A[^<>\x00-\x1f\ud800-\udfff]{1,30}\Z"),
    st.none() | st.just("az-1"),
)
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
VERSIONS = st.sampled_from([NONE, METADATA, Microversion(3, 51)])
SIGN_INS = st.one_of(
    st.none(),
    TOKENS.map(TokenAuth),
    st.builds(Keys, TOKENS, TOKENS, st.none() | TOKENS).map(AkSkAuth),
)


class Recorder:
    """Accepts every create, and keeps httpx's requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as the API."""
        self.requests.append(request)
        return httpx.Response(202, json=ACCEPTED)


class _Stopped(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """Return the same time for both ways."""
        return NOW.astimezone(tz)


@pytest.fixture(autouse=True)
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of signatures."""
    monkeypatch.setattr(aksk, "datetime", _Stopped)
    monkeypatch.setattr(lean_keys, "datetime", _Stopped)


class _Endpoint(Fixed):
    def __init__(self, root: str) -> None:
        super().__init__(root.removesuffix("/v3"), "v3")


def _knowing(api: VbsClient, root: str, version: Microversion) -> VbsClient:
    """Return the client after it has read the version document."""
    api._microversions._known[root] = version
    return api


@seed(20)
@EXAMPLES
@given(ROOTS, PROJECTS, VERSIONS, REQUESTS, SIGN_INS)
def test_a_lean_call_sends_the_same_bytes(
    root: str, project: str, version: Microversion, request: BackupRequest, auth: httpx.Auth | None
) -> None:
    """URL, headers in their order, signature and body are those of the request that httpx would send."""
    plain, lean = Recorder(), WiredClient(Recorder())
    if isinstance(auth, AkSkAuth):
        auth.record_acceptance(project)

    async def both() -> None:
        for client in (plain_client(plain), lean):
            api = VbsClient(client, _Endpoint(root), auth=auth)
            await _knowing(api, root, version).create(project, request)
            await api.create(project, request)  # what is prepared serves again
            await api.aclose()

    asyncio.run(both())
    expected = [encoded(each) for each in plain.requests]
    if lean.wired.messages:
        assert expected == lean.wired.messages
    else:  # the project is written otherwise in the URL
        assert f"/{project}/" not in plain.requests[0].url.path


BODIES = st.one_of(
    st.sampled_from(
        [ACCEPTED, {"backup": {"id": BACKUP, "name": "half \ud800", "links": [1]}}, {"backup": []}]
    ).map(lambda document: json.dumps(document).encode()),
    st.sampled_from(["badRequest", "forbidden", "itemNotFound", "overLimit", "computeFault"]).map(
        lambda name: json.dumps({name: {"code": 400, "message": "quota exceeded"}}).encode()
    ),
    st.binary(max_size=40),
)
STATUSES = st.sampled_from([200, 202, 204, 301, 400, 401, 403, 404, 409, 413, 429, 500, 502, 503])
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Encoding", "Retry-After", "X-Openstack-Request-Id", "Content-Type"]),
    st.sampled_from(["gzip", "7", "req-1", "identity"]),
)


async def _result(make: Any, answer: Answer, auth: httpx.Auth | None) -> object:
    api = VbsClient(make(answer), ENDPOINT, auth=auth)
    try:
        return await api.create(PROJECT, REQUEST)
    except ApiError as error:
        return [getattr(error, name) for name in SHOWN]
    finally:
        await api.aclose()


@seed(20)
@EXAMPLES
@given(STATUSES, HEADERS, BODIES, st.sampled_from(["none", "token", "keys"]))
def test_an_answer_to_a_lean_call_is_read_alike(
    status: int, headers: dict[str, str], body: bytes, kind: str
) -> None:
    """Backup or error are those that httpx's way gives for the same answer, and the sign-in knows as much."""

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    async def one(make: Any) -> tuple[object, object]:
        auth: httpx.Auth | None = {"none": None, "token": TokenAuth("t")}.get(kind)
        if kind == "keys":
            auth = keys = AkSkAuth(Keys("AK", "SK"))
            keys.record_acceptance(PROJECT)
        result = await _result(make, answer, auth)
        return result, getattr(auth, "_accepted", None)

    async def both() -> Sequence[object]:
        return [await one(plain_client), await one(WiredClient)]

    plain, lean = asyncio.run(both())
    assert plain == lean


LOST = [httpx.ConnectError, httpx.PoolTimeout, httpx.ReadTimeout, httpx.WriteError, ConnectionResetError]


@pytest.mark.parametrize("error", LOST)
def test_a_lost_answer_to_a_lean_call_is_classified_alike(error: type[Exception]) -> None:
    """Whether a byte may have left does not depend on the way."""

    def lose(_request: httpx.Request) -> httpx.Response:
        raise error("lost")

    async def both() -> Sequence[object]:
        return [await _result(make, lose, None) for make in (plain_client, WiredClient)]

    plain, lean = asyncio.run(both())
    assert plain == lean
    assert isinstance(plain, list)


def _sent(auth: httpx.Auth | None, project: str = PROJECT, calls: int = 1) -> int:
    """Return how many of the create calls were lean."""
    client = WiredClient(Recorder())

    async def create() -> None:
        api = VbsClient(client, ENDPOINT, auth=auth)
        for _ in range(calls):
            await api.create(project, REQUEST)
        await api.aclose()

    asyncio.run(create())
    return len(client.wired.messages)


def test_calls_are_lean_once_the_sign_in_need_not_wait() -> None:
    """The first call with a key waits until the API has accepted its signature; a function makes none."""
    assert [2, 2, 1, 0] == [
        _sent(None, calls=2),
        _sent(TokenAuth("t"), calls=2),
        _sent(AkSkAuth(Keys("AK", "SK")), calls=2),
        _sent(AgencyAuth(lambda: None, required=False), calls=2),
    ]


@pytest.mark.parametrize("token", ["t\r\nX-Other: 1", "t\nX", "t\r", "é"])
def test_a_token_that_is_no_header_is_not_sent_by_a_lean_call(token: str) -> None:
    """httpx's way refuses it; here it would be a second header."""
    assert TokenAuth(token).ready(PROJECT) is None


def test_a_project_is_spelled_as_in_the_plain_url() -> None:
    """A project id with dashes, which are left out of URLs, takes httpx's way: it is signed as it is."""
    dashed = "8d2c4b6a-1f3e-4d5c-9b7a-60f1e2d3c4b5"
    assert (0, 1) == (_sent(None, dashed), _sent(None, OTHER_PROJECT))


def _password() -> PasswordAuth:
    auth = PasswordAuth(plain_client(Recorder()), password_account(project_id=PROJECT))
    auth._session(PROJECT)._token = _Token("hidden", float("inf"), float("inf"))
    return auth


def _keys() -> AkSkAuth:
    auth = AkSkAuth(Keys("AK", "hidden", "hidden"))
    auth.record_acceptance(PROJECT)
    return auth


@pytest.mark.parametrize(
    "make", [lambda: TokenAuth("hidden"), _password, _keys], ids=["token", "password", "keys"]
)
def test_a_call_shows_no_secret(make: Callable[[], TokenAuth | PasswordAuth | AkSkAuth]) -> None:
    """Neither a call that is ready to be sent nor its sign-in has a secret in its repr."""
    auth = make()
    api = VbsClient(WiredClient(Recorder()), ENDPOINT, auth=auth)
    call = api._lean.call(f"{ENDPOINT}/v2", PROJECT, NONE, b"{}")
    assert call is not None
    assert b"hidden" in call.message
    assert "hidden" not in f"{call!r} {call.ready!r} {call.attempt()!r}"


def test_only_the_pool_without_a_proxy_takes_lean_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes through a proxy, or over httpx's own transport, goes there as httpx's request."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    here, there = httpx.URL("http://vbs.invalid/v2"), httpx.URL("http://10.0.0.1/v2")
    direct = http.http_client(Settings(_env_file=None))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "10.0.0.1")
    proxied = http.http_client(Settings(_env_file=None))
    assert [[True, True], [False, True]] == [_pooled(client, here, there) for client in (direct, proxied)]
    monkeypatch.setattr(http, "_fast", False)
    assert [False, False] == _pooled(http.http_client(Settings(_env_file=None)), here, there)


def _pooled(client: httpx.AsyncClient, *urls: httpx.URL) -> Sequence[bool]:
    assert isinstance(client, http.LeanClient)
    return [client.pool(url) is not None for url in urls]


def test_the_answer_of_the_page_is_read() -> None:
    """A lean call returns the backup."""

    async def create() -> object:
        return await _result(WiredClient, Recorder(), None)

    assert AcceptedBackup.model_validate(ACCEPTED["backup"]) == asyncio.run(create())
