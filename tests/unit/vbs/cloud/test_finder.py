"""The finder of endpoints: when it asks for versions and catalogue, and what it keeps."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx
import pytest

from events.outcome import Category
from handler.vbs.auth.catalogue import Catalogue, Endpoint, Service
from handler.vbs.client import VbsClient
from handler.vbs.cloud.catalogued import Wanted
from handler.vbs.cloud.finder import Finder, versions_in
from tests.unit.vbs.world import PROJECT, SNAPSHOT, Clock, Server, always, failure

BASE = "https://api.example.com/volume"
SHOWN = {"snapshot": {"id": SNAPSHOT, "volume_id": SNAPSHOT, "status": "available"}}


class _SignIn:
    """A sign-in with a catalogue, which counts how often it is asked."""

    def __init__(self, *urls: tuple[str, str]) -> None:
        self.services = tuple(Service(kind, kind, (Endpoint("public", None, url),)) for kind, url in urls)
        self.asked = 0

    async def catalogue(self) -> Catalogue:
        """Return the catalogue."""
        self.asked += 1
        return Catalogue(PROJECT, self.services)


def cinder(*versions: str) -> Server:
    """Return a Cinder with these versions, and an empty list of backups in each."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/volume")
        if path == "/":
            return httpx.Response(300, json={"versions": [{"id": f"{each}.0"} for each in versions]})
        if path.split("/")[1] not in versions:
            return httpx.Response(404, json={"code": "404 Not Found", "message": "no", "title": "Not Found"})
        return httpx.Response(200, json=SHOWN if "/snapshots/" in path else {"backups": []})

    return Server(answer)


def run(
    server: Server,
    wanted: Wanted,
    *uses: Callable[[VbsClient], Coroutine[Any, Any, object]],
    auth: object = None,
    clock: Clock | None = None,
) -> Sequence[str]:
    """Use a client one call after the other; return the URLs that were asked."""

    async def work() -> None:
        client = server.client()
        finder = Finder(wanted, client, auth, clock=clock or Clock())
        api = VbsClient(client, finder)
        try:
            for use in uses:
                await use(api)
        finally:
            await api.aclose()

    asyncio.run(work())
    return [str(request.url.copy_with(query=None)) for request in server.requests]


async def check(api: VbsClient) -> None:
    """Read the list."""
    await api.check(PROJECT)


async def show(api: VbsClient) -> None:
    """Show a snapshot."""
    await api.show_snapshot(PROJECT, SNAPSHOT)


@pytest.mark.parametrize(("versions", "used"), [(["v2", "v3"], "v2"), (["v3"], "v3"), (["v2"], "v2")])
def test_the_version_is_negotiated_once(versions: Sequence[str], used: str) -> None:
    """v2 where there is v2, v3 where it is gone; the answer is kept."""
    urls = run(cinder(*versions), Wanted(BASE), check, check)
    listed = f"{BASE}/{used}/{PROJECT}/backups"
    assert [f"{BASE}/", listed, listed] == urls


def test_a_version_that_is_set_wins_without_a_question() -> None:
    """With VBS_API_VERSION nothing is negotiated, whatever the cloud has."""
    assert [f"{BASE}/v3/{PROJECT}/backups"] == run(cinder("v2", "v3"), Wanted(BASE, version="v3"), check)


def test_calls_at_the_same_time_ask_once() -> None:
    """Sixteen first calls negotiate once."""

    async def many(api: VbsClient) -> None:
        await asyncio.gather(*(check(api) for _ in range(16)))

    assert 17 == len(run(cinder("v3"), Wanted(BASE), many))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>It works!</html>",
        b"[]",
        b"{}",
        b'{"versions": {"id": "v3.0"}}',
        b'{"versions": [null, 3, {"id": null}, {"id": 3}]}',
        b'{"versions": [' + b"[" * 100_000,
    ],
)
def test_an_answer_that_names_no_version_means_v2(body: bytes) -> None:
    """A gateway answers anything at its root."""
    assert frozenset() == versions_in(200, body)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_refused_question_means_v2(status: int) -> None:
    """What is no list of versions is not believed, whatever its body says."""
    assert frozenset() == versions_in(status, b'{"versions": [{"id": "v3.0"}]}')


def test_a_version_without_an_answer_is_asked_for_again_after_a_wrong_path() -> None:
    """The cloud is down at the first question: when it is back, calls find v3."""
    server, clock = cinder("v3"), Clock()
    down = always(503)
    up, server.answer = server.answer, down.answer

    async def fails(api: VbsClient) -> None:
        with pytest.raises(Exception, match=r"503|404"):
            await check(api)

    async def returns(api: VbsClient) -> None:
        server.answer = up
        clock.now += 10
        await fails(api)
        await check(api)

    urls = run(server, Wanted(BASE), fails, returns, clock=clock)
    assert f"{BASE}/v3/{PROJECT}/backups" == urls[-1]


def test_the_catalogue_names_the_endpoint() -> None:
    """Without VBS_ENDPOINT the sign-in's catalogue is read once, with its version."""
    auth = _SignIn(("volumev3", f"{BASE}/v3/{PROJECT}"))
    assert [f"{BASE}/v3/{PROJECT}/backups"] * 2 == run(cinder("v2", "v3"), Wanted(), check, check, auth=auth)
    assert 1 == auth.asked


def test_an_endpoint_without_a_version_in_the_catalogue_is_asked() -> None:
    """The type block-storage often has an unversioned URL."""
    auth = _SignIn(("block-storage", BASE))
    assert [f"{BASE}/", f"{BASE}/v3/{PROJECT}/backups"] == run(cinder("v3"), Wanted(), check, auth=auth)


def test_a_catalogue_that_changes_is_read_again() -> None:
    """A minute after calls fail as at a wrong path, the new endpoint is found."""
    auth, clock, server = _SignIn(("volumev3", f"{BASE}/v3/{PROJECT}")), Clock(), cinder("v3")

    async def moved(api: VbsClient) -> None:
        usual, server.answer = server.answer, always(404, b"nothing here").answer
        auth.services = _SignIn(("volumev3", f"https://new.example.com/volume/v3/{PROJECT}")).services
        clock.now += 61
        with pytest.raises(Exception, match="404"):
            await check(api)
        server.answer = usual
        await check(api)

    urls = run(server, Wanted(), check, moved, auth=auth, clock=clock)
    assert urls[-1].startswith("https://new.example.com/volume/v3/")


EVS = "https://evs.example.com"


@pytest.mark.parametrize(
    ("wanted", "services", "expected"),
    [
        (Wanted(BASE, version="v2"), [], f"{BASE}/v2"),
        (Wanted(BASE, EVS, "v2"), [], f"{EVS}/v2"),
        (Wanted(BASE, EVS, "v2"), [("evs", "https://other.example.com/v2")], f"{EVS}/v2"),
        (Wanted(BASE, version="v2"), [("evs", f"{EVS}/v2/{PROJECT}")], f"{EVS}/v2"),
        (Wanted(BASE), [("evs", f"{EVS}/v2/{PROJECT}"), ("vbs", f"{BASE}/v2/{PROJECT}")], f"{EVS}/v2"),
        (Wanted(BASE, version="v3"), [("volumev3", "https://other.example.com/v3")], f"{BASE}/v3"),
    ],
)
def test_snapshots_have_a_host_of_their_own(
    wanted: Wanted, services: Sequence[tuple[str, str]], expected: str
) -> None:
    """EVS_ENDPOINT comes first, then EVS in the catalogue, then the place of the backups."""
    server = always(200, SHOWN)
    urls = run(server, wanted, show, auth=_SignIn(*services) if services else None)
    assert f"{expected}/{PROJECT}/snapshots/{SNAPSHOT}" == urls[-1]


def test_a_sign_in_without_catalogue_needs_a_setting() -> None:
    """The error names VBS_ENDPOINT, and no call leaves."""
    server = always(200)
    error = failure(lambda: run(server, Wanted(), check))
    assert (Category.UNAVAILABLE, False) == (error.category, error.sent)
    assert "VBS_ENDPOINT" in error.message
    assert [] == server.requests


def test_the_host_of_an_event_s_id_is_never_asked() -> None:
    """Ids that look like URLs are refused before any call."""
    server = always(200, json.loads('{"backups": []}'))
    evil = "..//evil.example.com/"

    async def list_it(api: VbsClient) -> None:
        await api.check(evil)

    async def show_it(api: VbsClient) -> None:
        await api.show_snapshot(PROJECT, evil)

    wanted = Wanted(BASE, version="v2")
    errors = [failure(lambda: run(server, wanted, list_it)), failure(lambda: run(server, wanted, show_it))]
    assert [Category.INVALID] * 2 == [error.category for error in errors]
    assert [] == server.requests
