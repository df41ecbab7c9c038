"""Tests of the sign-in by access key and by FunctionGraph's agency."""

import asyncio
import json

import httpx
import pytest

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.auth.agency import AgencyAuth
from handler.vbs.auth.aksk import AkSkAuth
from handler.vbs.auth.keys import Keys
from handler.vbs.auth.signer import sign
from handler.vbs.auth.token import TokenAuth
from handler.vbs.client import VbsClient
from tests.twins.voices import foreign_body
from tests.unit.vbs.world import (
    ACCEPTED,
    NAME,
    OTHER_PROJECT,
    PROJECT,
    REQUEST,
    SNAPSHOT,
    VOLUME,
    Clock,
    Server,
    always,
    failure,
)

pytestmark = pytest.mark.usefixtures("each_way")

C = Category
KEYS = Keys("AK", "SK", "security+/=")
REFUSED = {"error_code": "APIGW.0301", "error_msg": "Incorrect IAM authentication information"}


class Context:
    """A FunctionGraph context with the given credentials."""

    def __init__(self, keys: tuple[object, object, object], token: object = None) -> None:
        self.keys = keys
        self.token = token

    def getSecurityAccessKey(self) -> object:  # noqa: N802 - the platform's name
        """Return the access key."""
        return self.keys[0]

    def getSecuritySecretKey(self) -> object:  # noqa: N802 - the platform's name
        """Return the secret key."""
        return self.keys[1]

    def getSecurityToken(self) -> object:  # noqa: N802 - the platform's name
        """Return the security token."""
        return self.keys[2]

    def getToken(self) -> object:  # noqa: N802 - the platform's name
        """Return the IAM token."""
        return self.token


def _expected(request: httpx.Request) -> str:
    """Sign the received request again, with the headers that it declares as signed."""
    declared = request.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    return sign(
        KEYS.access_key,
        KEYS.secret_key,
        method=request.method,
        path=request.url.path,
        query=request.url.params.multi_items(),
        headers={name: request.headers[name] for name in declared.split(";")},
        body=request.content,
    ).authorization


def test_the_signature_covers_what_the_server_receives() -> None:
    """Create and list cover host, project, content type, date and security token."""
    server = always(200, {"backups": []})

    async def use() -> None:
        api = server.api(auth=AkSkAuth(KEYS))
        await api.find(PROJECT, VOLUME, SNAPSHOT, NAME)
        server.answer = always(202, ACCEPTED)
        await api.create(PROJECT, REQUEST)

    asyncio.run(use())
    listed, created = server.requests
    assert [_expected(listed), _expected(created)] == [r.headers["Authorization"] for r in server.requests]
    assert (
        "SignedHeaders=content-type;host;x-project-id;x-sdk-date;x-security-token"
        in created.headers["Authorization"]
    )
    assert (PROJECT, "limit=100&volume_id=" + VOLUME) == (
        created.headers["X-Project-Id"],
        listed.url.query.decode(),
    )


def test_refused_keys_are_not_used_during_a_growing_pause() -> None:
    """The pause doubles at each refusal: more than five failures in a row lock the keys for five minutes."""
    server = always(401, REFUSED)
    clock = Clock()
    counts = []
    api = server.api(auth=AkSkAuth(KEYS, clock))
    for passed in (0, 59, 1, 119, 1):
        clock.now += passed
        error = failure(lambda: asyncio.run(api.create(PROJECT, REQUEST)))
        assert C.DENIED == error.category
        counts.append(len(server.requests))
    assert [1, 1, 2, 2, 3] == counts


def test_concurrent_calls_try_wrong_keys_once() -> None:
    """The first refusal fails all waiting calls, so that a burst at start does not lock the key pair."""
    server = always(401, REFUSED)
    api = server.api(auth=AkSkAuth(KEYS, Clock()))

    async def burst() -> list[BaseException | object]:
        calls = (api.create(PROJECT, REQUEST) for _ in range(32))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [C.DENIED] * 32 == [getattr(error, "category", None) for error in asyncio.run(burst())]
    assert 1 == len(server.requests)


def test_any_other_answer_ends_the_pause() -> None:
    """An answer other than 401 proves that the keys are accepted again."""
    server = always(401, REFUSED)
    clock = Clock()
    api = server.api(auth=AkSkAuth(KEYS, clock))
    failure(lambda: asyncio.run(api.create(PROJECT, REQUEST)))
    clock.now += 60
    server.answer = always(503)
    assert [C.IN_DOUBT] * 2 == [
        failure(lambda: asyncio.run(api.create(PROJECT, REQUEST))).category for _ in range(2)
    ]


def test_a_complete_temporary_key_signs_instead_of_the_token() -> None:
    """The agency's temporary keys sign the request as the vendor recommends, and no token is sent."""
    server = always(202, ACCEPTED)
    context = Context(("AK", "SK", "security+/="), "token")
    asyncio.run(server.api(auth=AgencyAuth(lambda: context)).create(PROJECT, REQUEST))
    sent = server.requests[0].headers
    assert (_expected(server.requests[0]), None) == (sent["Authorization"], sent.get("X-Auth-Token"))


@pytest.mark.parametrize("absent", [None, "", "null", "None", "a\nb", 7])
def test_without_a_complete_temporary_key_the_token_is_sent(absent: object) -> None:
    """Without a usable security token the client sends the agency's IAM token; absence has several forms."""
    server = always(202, ACCEPTED)
    context = Context(("AK", "SK", absent), "t" * 32_000)
    asyncio.run(server.api(auth=AgencyAuth(lambda: context)).create(PROJECT, REQUEST))
    sent = server.requests[0].headers
    assert ("t" * 32_000, None) == (sent["X-Auth-Token"], sent.get("Authorization"))


def test_each_request_uses_the_current_credentials() -> None:
    """The platform renews credentials between calls, so a warm instance uses the current ones."""
    server = always(202, ACCEPTED)
    context = Context((None, None, None), "first")
    api = server.api(auth=AgencyAuth(lambda: context))
    asyncio.run(api.create(PROJECT, REQUEST))
    context.token = "second"
    asyncio.run(api.create(PROJECT, REQUEST))
    assert ["first", "second"] == [request.headers["X-Auth-Token"] for request in server.requests]


@pytest.mark.parametrize("context", [Context((None, None, None)), object(), None])
def test_a_request_without_an_agency_is_not_sent(context: object) -> None:
    """Without credentials the call is denied, and the error says that the agency is missing."""
    server = always(202, ACCEPTED)
    api = server.api(auth=AgencyAuth(lambda: context))
    error = failure(lambda: asyncio.run(api.create(PROJECT, REQUEST)))
    assert (C.DENIED, True, []) == (error.category, "agency" in error.message, server.requests)


def test_a_long_token_is_sent_completely() -> None:
    """The client sends all 32,000 characters of a token, which the gateway accepts."""
    server = Server(lambda request: httpx.Response(202, content=json.dumps(ACCEPTED)))
    asyncio.run(server.api(auth=TokenAuth("t" * 32_000)).create(PROJECT, REQUEST))
    assert 32_000 == len(server.requests[0].headers["X-Auth-Token"])


def test_a_repr_contains_no_secret() -> None:
    """The reprs hide keys and tokens, which a traceback would otherwise write into the log."""
    shown = repr((KEYS, AkSkAuth(KEYS), TokenAuth("hidden")))
    assert ("SK'" in shown, "security" in shown.replace("security_token", ""), "hidden" in shown) == (
        False,
        False,
        False,
    )


def test_a_blocking_client_is_refused() -> None:
    """The sign-in refuses a blocking client: httpx would otherwise send the request without a sign-in."""
    client = httpx.Client(transport=httpx.MockTransport(always(200)), auth=AkSkAuth(KEYS))
    with client, pytest.raises(RuntimeError, match="AsyncClient"):
        client.get("http://127.0.0.1/")


def _failure_in(api: VbsClient, project: str) -> ApiError:
    return failure(lambda: asyncio.run(api.create(project, REQUEST)))


def _by_project(refused: set[str]) -> Server:
    """Return an API that refuses the signature in these projects."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.split("/")[2] in refused:
            return httpx.Response(401, json=REFUSED)
        return httpx.Response(202, json=ACCEPTED)

    return Server(answer)


def test_a_refusal_in_another_project_does_not_stop_our_own() -> None:
    """Three strangers are refused first; our own project's call is sent at once."""
    strangers = [f"{number:032x}" for number in range(5)]
    server = _by_project(set(strangers))
    api = server.api(auth=AkSkAuth(KEYS, Clock(), home=PROJECT))
    for project in strangers:
        assert C.DENIED == _failure_in(api, project).category
    asyncio.run(api.create(PROJECT, REQUEST))
    assert 3 + 1 == len(server.requests), "more than three in a row could lock the key pair"


def test_a_refusal_in_our_own_project_stops_all() -> None:
    """Then the keys are wrong, and no call of any project is sent for a minute."""
    server = _by_project({PROJECT})
    clock = Clock()
    api = server.api(auth=AkSkAuth(KEYS, clock, home=PROJECT))
    for _ in range(3):
        failure(lambda: asyncio.run(api.create(PROJECT, REQUEST)))
        failure(lambda: asyncio.run(api.create(OTHER_PROJECT, REQUEST)))
    assert 1 == len(server.requests)
    clock.now += 60
    asyncio.run(api.create(OTHER_PROJECT, REQUEST))


@pytest.mark.parametrize("name", ["nginx", "Kong", "APISIX", "Spring"])
def test_a_proxys_401_is_no_refusal_of_the_keys(name: str) -> None:
    """The next call is sent as soon as the circuit breaker lets it."""
    server = Server(lambda _request: httpx.Response(401, content=foreign_body(name, 401)))
    api = server.api(auth=AkSkAuth(KEYS, Clock()))
    for _ in range(2):
        assert C.DENIED == failure(lambda: asyncio.run(api.create(PROJECT, REQUEST))).category
    assert 2 == len(server.requests)
