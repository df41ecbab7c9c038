"""Microversions: what the client learns of the API, and what it sends accordingly."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.client import VbsClient
from handler.vbs.microversions import METADATA, NONE, Microversion, Microversions
from tests.unit.vbs.world import (
    ACCEPTED,
    BACKUP,
    ENDPOINT,
    NAME,
    PROJECT,
    REQUEST,
    SNAPSHOT,
    VOLUME,
    Clock,
    Server,
)

pytestmark = pytest.mark.usefixtures("each_way")

HEADER = "OpenStack-API-Version"
ASKED = REQUEST.model_copy(update={"event_id": "e1"})
ZONED = ASKED.model_copy(update={"availability_zone": "az-2", "metadata": {"policy": "gold"}})
OWN = {"snapshot-backup.snapshot_id": SNAPSHOT, "snapshot-backup.event_id": "e1"}
RAW = {"id": BACKUP, "status": "available", "volume_id": VOLUME, "name": "renamed"}
ROOT = f"{ENDPOINT}/v3"


def document(newest: str) -> dict[str, object]:
    """Return Cinder's version document."""
    return {"versions": [{"id": "v3.0", "status": "CURRENT", "version": newest, "min_version": "3.0"}]}


def cinder(
    newest: object = "3.71",
    *,
    status: int = 200,
    create: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(202, json=ACCEPTED),
    listed: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(200, json={"backups": []}),
) -> Server:
    """Return an API whose version document tells the ``newest`` microversion, or is something else."""
    told = document(newest) if isinstance(newest, str) else newest

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v3/":
            return httpx.Response(status, json=told)
        return create(request) if request.method == "POST" else listed(request)

    return Server(answer)


def use(server: Server, *calls: Callable[[VbsClient], Any], version: str = "v3") -> Sequence[Any]:
    """Make calls with one client, one after the other."""

    async def run() -> Sequence[Any]:
        api = server.api(version=version)
        try:
            return [await call(api) for call in calls]
        finally:
            await api.aclose()

    return asyncio.run(run())


def create(request: Any = ASKED) -> Callable[[VbsClient], Any]:
    """Return a create call."""
    return lambda api: api.create(PROJECT, request)


def find(api: VbsClient) -> Any:
    """Look up the backup."""
    return api.find(PROJECT, VOLUME, SNAPSHOT, NAME)


def sent(server: Server) -> Sequence[tuple[str | None, dict[str, Any]]]:
    """Return microversion and new fields of each create call."""
    posts = [each for each in server.requests if each.method == "POST"]
    bodies = [json.loads(each.content)["backup"] for each in posts]
    fields = [{k: v for k, v in body.items() if k in ("metadata", "availability_zone")} for body in bodies]
    return [(each.headers.get(HEADER), found) for each, found in zip(posts, fields, strict=True)]


def asked(server: Server) -> int:
    """Return how often the version document was read."""
    return sum(each.url.path == "/v3/" for each in server.requests)


@pytest.mark.parametrize(
    ("newest", "request_", "expected"),
    [
        ("3.71", ASKED, ("volume 3.43", {"metadata": OWN})),
        ("3.43", ASKED, ("volume 3.43", {"metadata": OWN})),
        ("3.42", ASKED, (None, {})),
        ("3.9", ASKED, (None, {})),
        (
            "3.51",
            ZONED,
            ("volume 3.51", {"metadata": {"policy": "gold", **OWN}, "availability_zone": "az-2"}),
        ),
        ("3.50", ZONED, ("volume 3.43", {"metadata": {"policy": "gold", **OWN}})),
        ("3.42", ZONED, (None, {})),
    ],
)
def test_a_create_has_what_the_api_knows(newest: str, request_: Any, expected: tuple[str, object]) -> None:
    """The request asks for the oldest microversion that knows its fields."""
    server = cinder(newest)
    use(server, create(request_))
    assert [expected] == sent(server)


@pytest.mark.parametrize("request_", [ASKED, ZONED])
def test_v2_has_no_microversion(request_: Any) -> None:
    """On v2 nothing is asked, and the request has the same bytes as without these fields."""
    server = cinder()
    use(server, create(request_), find, version="v2")
    posted = server.requests[0]
    assert (0, REQUEST.body()) == (asked(server), posted.content)
    assert all(HEADER not in each.headers for each in server.requests)


def test_an_old_cinder_gets_the_same_bytes_as_before() -> None:
    """Where the API knows no metadata, body and headers are those without microversions."""
    server = cinder("3.42")
    use(server, create(ZONED))
    posted = server.requests[-1]
    assert REQUEST.body() == posted.content
    assert HEADER not in posted.headers


def test_the_document_is_read_once() -> None:
    """Many calls at once wait for one answer, and later ones use it."""
    server = cinder()

    async def many(api: VbsClient) -> None:
        await asyncio.gather(*(api.create(PROJECT, ASKED) for _ in range(8)), find(api))

    use(server, many, create(), find)
    assert (1, 9) == (asked(server), len(sent(server)))


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (None, 404),
        (None, 401),
        (None, 503),
        ({"versions": []}, 200),
        ({"versions": "3.71"}, 200),
        ([], 200),
        ({"versions": [{"id": "v2.0", "version": ""}]}, 300),
        ({"versions": [{"id": "v3.0", "version": "3.x"}]}, 200),
        ({"versions": [{"id": "v3.0"}]}, 200),
        ({"versions": [{"id": "v3.0", "version": "99999.99999"}]}, 200),
    ],
)
def test_what_cannot_be_learned_is_not_sent(told: object, status: int) -> None:
    """A version document that is not Cinder's does not stop the create, nor delay the next one."""
    server = cinder(told, status=status)
    use(server, create(ZONED), create(ZONED), find)
    assert ([(None, {})] * 2, 1) == (sent(server), asked(server))


def test_an_endpoint_that_did_not_answer_is_asked_again_later() -> None:
    """After ten minutes the document is read again, and then never more."""
    clock, calls = Clock(), []

    async def ask(_root: str, _project: str) -> Microversion:
        calls.append(clock.now)
        if len(calls) == 1:
            raise ApiError(Category.UNAVAILABLE, "no usable answer: cut")
        return METADATA

    async def run() -> list[Microversion]:
        versions, found = Microversions(ask, clock), []
        for seconds in (0, 599, 1, 5000):
            clock.now += seconds
            found.append(await versions.newest(ROOT, PROJECT))
        return found

    assert [NONE, NONE, METADATA, METADATA] == asyncio.run(run())
    assert [1000.0, 1600.0] == calls


def test_a_project_whose_sign_in_fails_does_not_keep_others_from_asking() -> None:
    """A project that a producer made up takes no metadata away from other projects."""
    asked_by: list[str] = []

    async def ask(_root: str, project: str) -> Microversion:
        asked_by.append(project)
        if project == "made up":
            raise ApiError(Category.DENIED, "no such project", status=401)
        return METADATA

    async def run() -> list[Microversion]:
        versions = Microversions(ask, Clock())
        return [await versions.newest(ROOT, each) for each in ("made up", "made up", PROJECT, "made up")]

    assert [NONE, NONE, METADATA, METADATA] == asyncio.run(run())
    assert ["made up", PROJECT] == asked_by


def test_a_caller_that_is_cancelled_leaves_the_question_to_the_next() -> None:
    """If the task that asks is cancelled, one of those that wait asks instead."""

    async def run() -> Microversion:
        answered = asyncio.Event()

        async def ask(_root: str, _project: str) -> Microversion:
            await answered.wait()
            return METADATA

        versions = Microversions(ask)
        first, second, third = (asyncio.ensure_future(versions.newest(ROOT, PROJECT)) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        third.cancel()
        answered.set()
        return await second

    assert METADATA == asyncio.run(run())


def test_metadata_shows_the_snapshot_where_its_id_is_hidden() -> None:
    """A backup with another name and no snapshot id is found by our metadata."""
    marked = {**RAW, "metadata": OWN}
    server = cinder(listed=lambda _: httpx.Response(200, json={"backups": [RAW, marked]}))
    (found,) = use(server, find)
    assert [SNAPSHOT] == [each.snapshot_id for each in found]
    assert "volume 3.43" == server.requests[-1].headers[HEADER]


@pytest.mark.parametrize("metadata", [None, {}, [], {"snapshot-backup.snapshot_id": 7}])
def test_a_lookup_goes_by_the_name_where_metadata_says_nothing(metadata: object) -> None:
    """Without usable metadata a backup is recognised by id and name as before."""
    raw = {**RAW, "name": NAME, "metadata": metadata}
    server = cinder(listed=lambda _: httpx.Response(200, json={"backups": [raw]}))
    (found,) = use(server, find)
    assert [BACKUP] == [each.id for each in found]


def test_the_backups_snapshot_id_goes_before_metadata() -> None:
    """Metadata, which anyone in the project may change, does not make a backup another snapshot's."""
    other = "c7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f9"
    raw = {**RAW, "snapshot_id": other, "metadata": OWN}
    server = cinder(listed=lambda _: httpx.Response(200, json={"backups": [raw]}))
    assert [[]] == use(server, find)


@pytest.mark.parametrize("status", [400, 406])
def test_a_list_that_refuses_the_microversion_is_read_without(status: int) -> None:
    """If the operator's filters or another node refuse it, the lookup goes on, and asks for it no more."""
    none: dict[str, object] = {"backups": []}
    server = cinder(listed=lambda r: httpx.Response(status if HEADER in r.headers else 200, json=none))
    use(server, find, find, create())
    lists = [each.headers.get(HEADER) for each in server.requests if "/detail" in each.url.path]
    assert (["volume 3.43", None, None], [(None, {})]) == (lists, sent(server))


def test_a_list_that_is_refused_either_way_says_nothing_about_the_microversion() -> None:
    """What the API refuses of one project takes no other project's metadata away."""
    wrong = {"badRequest": {"code": 400, "message": "Malformed request url"}}
    server = cinder(listed=lambda _: httpx.Response(400, json=wrong))

    async def refused(api: VbsClient) -> None:
        with pytest.raises(ApiError):
            await find(api)

    use(server, refused, create())
    assert [("volume 3.43", {"metadata": OWN})] == sent(server)


@pytest.mark.parametrize(
    "text",
    [
        "Additional properties are not allowed ('project_id' was unexpected)",
        "Value: Additional properties are not allowed ('metadata' was unexpected). 'x' is too long",
    ],
)
def test_what_an_event_asks_for_takes_no_metadata_away(text: str) -> None:
    """A refused field of the event, or a text that the answer quotes, is not about the microversion."""
    wrong = {"badRequest": {"code": 400, "message": text}}
    left = iter([httpx.Response(400, json=wrong), httpx.Response(202, json=ACCEPTED)])
    server = cinder(create=lambda _: next(left))

    async def refused(api: VbsClient) -> None:
        with pytest.raises(ApiError) as raised:
            await api.create(PROJECT, ASKED)
        assert not raised.value.busy

    use(server, refused, create())
    assert [("volume 3.43", {"metadata": OWN})] * 2 == sent(server)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (406, "Version 3.43 is not supported by the API. Minimum is 3.0 and maximum is 3.27."),
        (400, "Additional properties are not allowed ('metadata' was unexpected)"),
    ],
)
def test_a_refused_microversion_is_looked_up_and_not_sent_again(status: int, text: str) -> None:
    """A node of another release, or a gateway that drops the header, fails no event."""

    def answer(request: httpx.Request) -> httpx.Response:
        if b"metadata" in request.content:
            return httpx.Response(status, json={"badRequest": {"code": status, "message": text}})
        return httpx.Response(202, json=ACCEPTED)

    server = cinder(create=answer)

    async def refused(api: VbsClient) -> tuple[Category, bool]:
        with pytest.raises(ApiError) as raised:
            await api.create(PROJECT, ASKED)
        return raised.value.category, raised.value.busy

    assert (Category.CONFLICT, True) == use(server, refused, create())[0]
    assert [("volume 3.43", {"metadata": OWN}), (None, {})] == sent(server)


@pytest.mark.parametrize(("minor", "expected"), [(43, True), (51, True), (71, True), (72, False)])
def test_the_client_tells_what_the_api_supports(minor: int, expected: bool) -> None:
    """``supports`` compares with the newest microversion of the document."""
    assert [expected] == use(cinder(), lambda api: api.supports(3, minor, project_id=PROJECT))


def test_a_warning_says_once_what_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    """What a rule sets and the API does not know is named in one line of the log."""
    use(cinder("3.50"), create(ASKED), create(ZONED), create(ZONED))
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [f"{ROOT} does not know microversion 3.51: what RULES_FILE sets for it is not sent"] == warnings
