"""Tests of the client's calls: the request that is sent, and the result of each answer."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from events.outcome import AcceptedBackup, BackupLink, Category
from handler.backup.ports import Api
from handler.vbs.client import VbsClient
from handler.vbs.pages import PAGE_SIZE
from tests.unit.vbs.world import (
    ACCEPTED,
    BACKUP,
    ENDPOINT,
    NAME,
    OTHER_PROJECT,
    PROJECT,
    REQUEST,
    SNAPSHOT,
    VOLUME,
    Server,
    always,
    failure,
)

pytestmark = pytest.mark.usefixtures("each_way")

C = Category
UNDASHED = SNAPSHOT.replace("-", "")
RAW = {"id": BACKUP, "status": "available", "volume_id": VOLUME, "snapshot_id": SNAPSHOT, "name": NAME}


def _raw(number: int, **facts: object) -> dict[str, object]:
    return {**RAW, "id": f"00000000-0000-4000-8000-{number:012d}", **facts}


def _found(server: Server) -> list[str]:
    return [b.id for b in server.call(lambda api: api.find(PROJECT, VOLUME, SNAPSHOT, NAME))]


def _pages(*pages: Mapping[str, object]) -> Server:
    left = iter(pages)
    return Server(lambda _request: httpx.Response(200, json=next(left)))


def _next(query: str) -> list[dict[str, str]]:
    return [{"rel": "next", "href": f"http://elsewhere.invalid:8776/x/backups?{query}"}]


def test_the_client_implements_the_api_protocol() -> None:
    """mypy checks that the client has the protocol's type; creating a client sends nothing."""
    server = always(500)
    api: Api = server.api()
    asyncio.run(api.aclose())
    assert [] == server.requests


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_create_request_is_exactly_as_on_the_page(version: str) -> None:
    """Method, URL, content type and body equal those on the API's page."""
    server = always(202, ACCEPTED)
    asyncio.run(server.api(version=version).create(PROJECT, REQUEST))
    sent = server.requests[-1]
    expected = ("POST", f"{ENDPOINT}/{version}/{PROJECT}/backups", "application/json", REQUEST.body())
    assert expected == (sent.method, str(sent.url), sent.headers["Content-Type"], sent.content)


def test_the_answer_on_the_page_is_parsed() -> None:
    """The client returns id, name and links unchanged."""
    connection = {"href": "https://volume.example.com/v2/p/backups/b", "rel": "self"}
    server = always(202, {"backup": {"id": BACKUP, "name": "backup1", "links": [connection]}})
    expected = AcceptedBackup(id=BACKUP, name="backup1", links=(BackupLink(**connection),))
    assert expected == server.call(lambda api: api.create(PROJECT, REQUEST))


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"name": None, "links": None},
        {"name": 7, "links": "x"},
        {"links": [1, {"href": 1}]},
        {"name": "\ud800"},
    ],
)
def test_an_answer_with_only_an_id_is_accepted(extra: Mapping[str, object]) -> None:
    """A wrong optional field must not make an existing backup look lost."""
    server = always(202, json.dumps({"backup": {"id": BACKUP, **extra}}).encode())
    assert BACKUP == server.call(lambda api: api.create(PROJECT, REQUEST)).id


def test_a_name_with_a_lone_surrogate_can_be_published() -> None:
    """JSON can contain half of a character, which an outcome cannot encode."""
    server = always(202, json.dumps({"backup": {"id": BACKUP, "name": "half \ud800 é"}}).encode())
    backup = server.call(lambda api: api.create(PROJECT, REQUEST))
    assert "half ? é" == backup.name
    assert backup == AcceptedBackup.model_validate_json(backup.model_dump_json())


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"backup": {"id": "',
        b"[]",
        b'{"backup": []}',
        b'{"backup": {"id": "../x"}}',
        b'{"job_id": "1"}',
        b"[" * 100_000,
        b" " * (1024 * 1024 + 1),
    ],
)
def test_a_success_without_a_backup_id_is_in_doubt(status: int, body: bytes) -> None:
    """A success without a backup id is in doubt: a backup may exist with an unknown id."""
    error = always(status, body).failure(lambda api: api.create(PROJECT, REQUEST))
    assert (C.IN_DOUBT, status) == (error.category, error.status)


@pytest.mark.parametrize(
    ("raised", "category"),
    [
        (httpx.ConnectError, C.UNAVAILABLE),
        (httpx.ConnectTimeout, C.UNAVAILABLE),
        (httpx.PoolTimeout, C.UNAVAILABLE),
        (httpx.ProxyError, C.UNAVAILABLE),
        (httpx.ReadTimeout, C.IN_DOUBT),
        (httpx.WriteTimeout, C.IN_DOUBT),
        (httpx.WriteError, C.IN_DOUBT),
        (httpx.ReadError, C.IN_DOUBT),
        (httpx.CloseError, C.IN_DOUBT),
        (httpx.RemoteProtocolError, C.IN_DOUBT),
        (ConnectionResetError, C.IN_DOUBT),
    ],
)
def test_a_lost_answer_is_in_doubt_unless_the_request_never_left(
    raised: Callable[[str], Exception], category: Category
) -> None:
    """A create call is in doubt if its first byte may have been sent; a lookup is only unavailable."""

    def answer(_request: httpx.Request) -> httpx.Response:
        raise raised("lost")

    error = Server(answer).failure(lambda api: api.create(PROJECT, REQUEST))
    lookup = Server(answer).failure(lambda api: api.show(PROJECT, BACKUP))
    assert (category, C.UNAVAILABLE) == (error.category, lookup.category)


@pytest.mark.parametrize(
    ("raised", "named"),
    [
        (httpx.ConnectError("[Errno 111] Connect call failed ('10.0.0.1', 443)"), "VBS_ENDPOINT: check host"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "VBS_ENDPOINT: check the host name"),
        (httpx.ConnectError("certificate verify failed: unable to get local issuer"), "VBS_CA_FILE: set it"),
        (httpx.ProxyError("407, through the proxy of HTTPS_PROXY"), "NO_PROXY"),
        (httpx.ReadError("Connection reset by peer"), ""),
    ],
)
def test_the_setting_to_check_is_named_to_operators_alone(raised: Exception, named: str) -> None:
    """Where no connection was made a remedy names the setting; the outcome's text does not."""

    def answer(_request: httpx.Request) -> httpx.Response:
        raise raised

    error = Server(answer).failure(lambda api: api.create(PROJECT, REQUEST))
    assert bool(named) == bool(error.remedy)
    assert named in error.for_operators
    assert "VBS_" not in error.message


def test_a_redirect_is_an_error_and_not_followed() -> None:
    """A redirected POST could send our token to any host."""
    server = always(307, b"", Location="http://elsewhere.invalid/")
    error = server.failure(lambda api: api.create(PROJECT, REQUEST))
    assert (C.UNAVAILABLE, 307, 1) == (error.category, error.status, len(server.requests))


def test_a_refusal_is_classified() -> None:
    """The client classifies a refusal with the tables of ``handler.vbs.faults``."""
    fault = {
        "badRequest": {"code": 400, "message": 'must be available, but the current status is "backing-up".'}
    }
    error = always(400, fault).failure(lambda api: api.create(PROJECT, REQUEST))
    assert (C.CONFLICT, True, 400) == (error.category, error.busy, error.status)


@pytest.mark.parametrize("project", ["", "a/b", "..", "a?b", "a#b", "ä", "x" * 65, "p\n"])
def test_a_project_id_that_is_not_one_path_segment_is_not_sent(project: str) -> None:
    """The project id is checked again where the URL is built."""
    server = always(202, ACCEPTED)
    error = server.failure(lambda api: api.create(project, REQUEST))
    assert (C.INVALID, []) == (error.category, server.requests)


@pytest.mark.parametrize("bad", ["", "..", f"{BACKUP}/x", f"{BACKUP}?", "detail", f"{BACKUP}\n"])
def test_an_id_that_is_not_a_uuid_is_not_sent(bad: str) -> None:
    """The client checks ids before it sends them, since they come from answers and messages."""
    server = always(200, {"backups": []})
    calls: list[Callable[[VbsClient], Any]] = [
        lambda api: api.show(PROJECT, bad),
        lambda api: api.show_snapshot(PROJECT, bad),
        lambda api: api.find(PROJECT, bad, SNAPSHOT, NAME),
    ]
    assert ([C.INVALID] * 3, []) == ([server.failure(call).category for call in calls], server.requests)


def test_each_project_has_its_own_path() -> None:
    """Each call uses its project's URL, although the client caches URLs by project."""
    server = always(404, {"itemNotFound": {"code": 404, "message": "gone"}})

    async def show_in_both() -> None:
        api = server.api()
        for project in (PROJECT, OTHER_PROJECT, PROJECT):
            await api.show(project, BACKUP)

    asyncio.run(show_in_both())
    assert [PROJECT, OTHER_PROJECT, PROJECT] == [r.url.path.split("/")[2] for r in server.requests]


def test_a_backup_has_its_times_in_utc() -> None:
    """The client adds the zone to the API's times, drops unreadable ones, and lowers the status's case."""
    raw = {
        **RAW,
        "status": "Available",
        "size": 40,
        "created_at": "2026-03-04T02:15:12.318204",
        "updated_at": "2026-03-04t02:31:40",
        "data_timestamp": "yesterday",
        "fail_reason": "disk gone",
    }
    backup = always(200, {"backup": raw}).call(lambda api: api.show(PROJECT, BACKUP))
    assert backup is not None
    detail = backup.detail
    expected = (
        "available",
        40,
        "2026-03-04T02:15:12.318204Z",
        "2026-03-04T02:31:40.000000Z",
        None,
        "disk gone",
    )
    assert expected == (
        backup.status,
        detail.size,
        detail.created_at,
        detail.updated_at,
        detail.data_timestamp,
        backup.fail_reason,
    )


def test_an_unknown_status_is_returned_unchanged() -> None:
    """Tracking treats an unknown status as in progress."""
    backup = always(200, {"backup": {**RAW, "status": "polishing"}}).call(
        lambda api: api.show(PROJECT, BACKUP)
    )
    assert backup is not None
    assert "polishing" == backup.status


def test_a_snapshot_is_parsed() -> None:
    """The client parses a snapshot's volume and metadata, which decide whether it is backed up."""
    raw = {"id": SNAPSHOT, "volume_id": VOLUME, "status": "AVAILABLE", "size": 1, "metadata": {"team": "rig"}}
    snapshot = always(200, {"snapshot": raw}).call(lambda api: api.show_snapshot(PROJECT, SNAPSHOT))
    assert snapshot is not None
    assert (SNAPSHOT, VOLUME, "available", {"team": "rig"}) == (
        snapshot.id,
        snapshot.volume_id,
        snapshot.status,
        snapshot.metadata,
    )


def test_only_a_not_found_of_the_api_itself_is_none() -> None:
    """A wrong path must not look like a deleted backup."""
    gone = always(404, {"itemNotFound": {"code": 404, "message": "gone"}})
    wrong_path = always(404, {"message": "x", "code": "404 Not Found", "title": "Not Found"})
    assert gone.call(lambda api: api.show(PROJECT, BACKUP)) is None
    assert gone.call(lambda api: api.show_snapshot(PROJECT, SNAPSHOT)) is None
    assert C.UNAVAILABLE == wrong_path.failure(lambda api: api.show(PROJECT, BACKUP)).category


def test_a_list_that_is_not_found_is_an_error() -> None:
    """Only an empty list proves absence."""
    server = always(404, {"itemNotFound": {"code": 404, "message": "gone"}})
    assert C.UNAVAILABLE == server.failure(lambda api: api.find(PROJECT, VOLUME, SNAPSHOT, NAME)).category


def test_find_lists_the_backups_of_the_volume() -> None:
    """``snapshot_id`` is not a filter: old releases ignore it, new ones refuse it."""
    server = always(200, {"backups": []})
    assert [] == _found(server)
    assert {"volume_id": VOLUME, "limit": str(PAGE_SIZE)} == dict(server.requests[0].url.params)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({}, True),
        ({"snapshot_id": SNAPSHOT.upper()}, True),
        ({"snapshot_id": VOLUME}, False),
        ({"snapshot_id": None}, True),
        ({"snapshot_id": None, "name": "other"}, False),
        ({"snapshot_id": None, "name": None, "service_metadata": f' {{"snap_id": "{UNDASHED}"}} '}, True),
        ({"snapshot_id": None, "service_metadata": f'{{"snap_id": "{VOLUME}"}}'}, False),
        ({"snapshot_id": None, "service_metadata": "{cut"}, True),
    ],
)
def test_a_backup_matches_by_snapshot_id_else_by_name(facts: Mapping[str, object], *, found: bool) -> None:
    """The snapshot id of the backup or of VBS's metadata decides; without both, the backup's name does."""
    server = always(200, {"backups": [{**RAW, **facts}]})
    assert ([BACKUP] if found else []) == _found(server)


def test_a_name_without_the_snapshots_id_does_not_match() -> None:
    """A name without the snapshot's id is no match: a producer may use the same name every night."""
    server = always(200, {"backups": [{**RAW, "snapshot_id": None, "name": "nightly"}]})
    assert [] == server.call(lambda api: api.find(PROJECT, VOLUME, SNAPSHOT, "nightly"))


def test_the_oldest_backup_is_first() -> None:
    """Backups are sorted by creation time, whatever its number of digits; one without a time is last."""
    times = {1: None, 2: "2026-03-04T02:15:12.5", 3: "2026-03-04T02:15:12", 4: "2025-03-04T02:15:12"}
    server = always(200, {"backups": [_raw(n, created_at=time) for n, time in times.items()]})
    assert [str(_raw(n)["id"]) for n in (4, 3, 2, 1)] == _found(server)


def test_all_pages_are_read_from_the_configured_endpoint() -> None:
    """The client uses only marker and offset of a link, never its host."""
    marker = str(_raw(1)["id"])
    first = {"backups": [_raw(1)], "backups_links": _next(f"limit=1&offset=1&marker={marker}&volume_id=x")}
    server = _pages(first, {"backups": [_raw(2)]})
    assert [str(_raw(n)["id"]) for n in (1, 2)] == _found(server)
    asked = server.requests[1].url
    assert (
        "127.0.0.1",
        {"volume_id": VOLUME, "limit": str(PAGE_SIZE), "marker": marker, "offset": "1"},
    ) == (asked.host, dict(asked.params))


def test_a_full_page_without_a_link_is_not_the_last() -> None:
    """The client asks for one more page after a full one: a missed backup would be created twice."""
    server = _pages({"backups": [_raw(n) for n in range(PAGE_SIZE)]}, {"backups": [_raw(999)]})
    assert PAGE_SIZE + 1 == len(_found(server))


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"backups": None},
        {"backups": [1]},
        {"backups": [{"name": "no id"}]},
        {"backups": [{"id": BACKUP}]},
        {"backups": [], "backups_links": [{"rel": "next", "href": "http://x/?marker=../y"}]},
        {"backups": [], "backups_links": [{"rel": "next", "href": 7}]},
        {"backups": [], "backups_links": [{"rel": "next", "href": "http://[x"}]},
    ],
)
def test_an_unreadable_page_is_an_error(document: object) -> None:
    """An unreadable page may contain the backup."""
    error = always(200, document).failure(lambda api: api.find(PROJECT, VOLUME, SNAPSHOT, NAME))
    assert C.UNAVAILABLE == error.category


def test_a_list_that_repeats_a_page_ends_in_an_error() -> None:
    """The client stops with an error if the server sends the same link again."""
    server = always(200, {"backups": [], "backups_links": _next(f"marker={BACKUP}")})
    error = server.failure(lambda api: api.find(PROJECT, VOLUME, SNAPSHOT, NAME))
    assert (C.UNAVAILABLE, 2) == (error.category, len(server.requests))


def test_a_list_without_an_end_ends_in_an_error() -> None:
    """The client stops with an error after 50 pages if each page links to a new one."""
    counter = iter(range(10**6))
    server = Server(
        lambda _request: httpx.Response(
            200, json={"backups": [], "backups_links": _next(f"offset={next(counter)}")}
        )
    )
    error = server.failure(lambda api: api.find(PROJECT, VOLUME, SNAPSHOT, NAME))
    assert (C.UNAVAILABLE, 50) == (error.category, len(server.requests))


def test_no_cookie_of_the_api_is_kept() -> None:
    """The client drops cookies: a load balancer's cookie would bind it to one server."""
    server = always(202, ACCEPTED, Set_Cookie="a=b; Path=/")

    async def twice() -> None:
        api = server.api()
        await api.create(PROJECT, REQUEST)
        await api.create(PROJECT, REQUEST)

    asyncio.run(twice())
    assert [False, False] == ["cookie" in request.headers for request in server.requests]


def test_a_compressed_answer_is_in_doubt() -> None:
    """A compressed answer is not read, since a small body could decompress to any size."""
    error = failure(
        lambda: always(202, ACCEPTED, Content_Encoding="x-odd").call(lambda api: api.create(PROJECT, REQUEST))
    )
    assert C.IN_DOUBT == error.category


def test_a_check_reads_one_backup_of_the_project() -> None:
    """It changes nothing, and costs the API little."""
    server = always(200, {"backups": []})
    server.call(lambda api: api.check(PROJECT))
    [request] = server.requests
    assert ("GET", f"/v2/{PROJECT}/backups?limit=1") == (request.method, request.url.raw_path.decode())


@pytest.mark.parametrize(
    ("status", "body", "category"),
    [
        (403, b'{"forbidden": {"code": 403, "message": "no"}}', C.DENIED),
        (401, b'{"error": {"code": 401, "message": "no", "title": "Unauthorized"}}', C.DENIED),
        (503, b"", C.UNAVAILABLE),
        (200, b"<html>log in</html>", C.UNAVAILABLE),
    ],
)
def test_a_check_that_fails_says_why(status: int, body: bytes, category: Category) -> None:
    """A refusal of the account is told from an API that is not there."""
    assert category == always(status, body).failure(lambda api: api.check(PROJECT)).category
