"""Tests of the classification of error answers: each row of the tables, and every shape of a body."""

import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from events.outcome import Category
from handler.vbs.codes import BUSY_CODES, CODES
from handler.vbs.fault_body import read_fault
from handler.vbs.faults import STATUSES, create_error, lookup_error, says_absent
from tests.twins.voices import FOREIGN, GATEWAY, OWN, foreign_body

C = Category
SAMPLES = Path(__file__).parents[2] / "data" / "cinder" / "api.jsonl"

# The create call's page: 400 to 409 and 500 to 504. Beyond it: Cinder's 413 and 415, the gateway's 429.
PAGE = {
    400: (C.REFUSED, C.UNAVAILABLE),
    401: (C.DENIED, C.DENIED),
    402: (C.DENIED, C.DENIED),
    403: (C.DENIED, C.UNAVAILABLE),
    404: (C.UNAVAILABLE, C.UNAVAILABLE),
    405: (C.REFUSED, C.UNAVAILABLE),
    406: (C.REFUSED, C.UNAVAILABLE),
    407: (C.DENIED, C.DENIED),
    408: (C.IN_DOUBT, C.IN_DOUBT),
    409: (C.CONFLICT, C.UNAVAILABLE),
    413: (C.INVALID, C.UNAVAILABLE),
    415: (C.REFUSED, C.UNAVAILABLE),
    429: (C.THROTTLED, C.THROTTLED),
    500: (C.IN_DOUBT, C.IN_DOUBT),
    501: (C.REFUSED, C.IN_DOUBT),
    502: (C.IN_DOUBT, C.IN_DOUBT),
    503: (C.UNAVAILABLE, C.IN_DOUBT),
    504: (C.IN_DOUBT, C.IN_DOUBT),
}
"""Each status: its category in the API's own form without a name, and in a proxy's."""

FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def _created(status: int, document: object, headers: Mapping[str, str] | None = None) -> Category:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return create_error(status, httpx.Headers(headers or {}), body).category


def _bad_request(message: str) -> dict[str, object]:
    return {"badRequest": {"code": 400, "message": message}}


@pytest.mark.parametrize(("status", "categories"), PAGE.items())
def test_a_status_has_its_category(status: int, categories: tuple[Category, Category]) -> None:
    """An answer in the API's form has its status's category; a 404 without a fault means a wrong path."""
    assert categories[0] == _created(status, {"message": "no", "code": f"{status} No", "title": "No"})


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize(("status", "categories"), PAGE.items())
def test_a_status_of_a_proxy_fails_no_message(
    status: int, categories: tuple[Category, Category], name: str
) -> None:
    """A proxy's answer fails no message: it may affect all of them, or come after the backup was created."""
    error = create_error(status, httpx.Headers(), foreign_body(name, status))
    assert (categories[1], False) == (error.category, error.from_api)


@pytest.mark.parametrize("name", FOREIGN)
def test_no_lookup_is_refused_by_a_proxy(name: str) -> None:
    """Nothing that a proxy answers to a lookup proves anything about a backup or a snapshot."""
    for status in range(300, 600):
        body = foreign_body(name, status)
        error = lookup_error(status, httpx.Headers(), body)
        assert error.category in (C.UNAVAILABLE, C.THROTTLED, C.DENIED)
        assert not says_absent(status, body)


@pytest.mark.parametrize(("status", "document"), GATEWAY)
def test_what_the_gateway_refuses_concerns_all(status: int, document: dict[str, str]) -> None:
    """Huawei's gateway refuses accounts, addresses and paths; it has not seen what is in a request."""
    error = create_error(status, httpx.Headers(), json.dumps(document).encode())
    assert error.category in (C.UNAVAILABLE, C.THROTTLED, C.DENIED, C.IN_DOUBT)
    assert not error.from_api


def test_the_gateway_refuses_a_project_too() -> None:
    """``APIGW.0310`` is about the request's project, as a 403 of the API."""
    body = b'{"error_code": "APIGW.0310", "error_msg": "The project is unavailable", "request_id": "r"}'
    error = create_error(403, httpx.Headers(), body)
    assert (C.DENIED, True) == (error.category, error.from_api)


@pytest.mark.parametrize(("status", "document"), OWN)
def test_each_form_of_the_api_is_its_own(status: int, document: dict[str, object]) -> None:
    """Cinder, VBS, EVS, Keystone and IAM each have their forms."""
    assert read_fault(status, json.dumps(document).encode()).own


@pytest.mark.parametrize("status", PAGE)
def test_every_status_of_the_page_is_in_the_table(status: int) -> None:
    """The table has each status of the page, so the fallback for unknown statuses classifies none."""
    assert status in STATUSES


@pytest.mark.parametrize(("status", "name"), FAULTS.items())
def test_a_named_fault_is_parsed(status: int, name: str) -> None:
    """The client finds code and text inside the fault that Cinder names after the status."""
    error = create_error(
        status, httpx.Headers(), json.dumps({name: {"code": status, "message": "m"}}).encode()
    )
    assert (status, str(status), "m") == (error.status, error.code, error.message.split(" (")[0])


@pytest.mark.parametrize(("code", "category"), CODES.items())
def test_a_code_overrides_its_status(code: str, category: Category) -> None:
    """The code decides the category, in ``error`` or a named fault of VBS or the gateway's ``error_code``."""
    answers = (
        {"error": {"code": code, "message": "m"}},
        {"badRequest": {"code": code, "message": "m"}},
        {"error_code": code, "error_msg": "m"},
    )
    assert {category} == {_created(400, answer) for answer in answers}


@pytest.mark.parametrize("code", sorted(BUSY_CODES))
def test_a_backup_in_progress_sets_busy(code: str) -> None:
    """A busy conflict means that a lookup must precede the next create."""
    error = create_error(400, httpx.Headers(), json.dumps({"error": {"code": code, "message": ""}}).encode())
    assert (C.CONFLICT, True) == (error.category, error.busy)


@pytest.mark.parametrize(
    ("state", "category", "busy"),
    [
        ("backing-up", C.CONFLICT, True),
        ("creating", C.CONFLICT, False),
        ("rollbacking", C.CONFLICT, False),
        ("restoring", C.CONFLICT, False),
        ("updating", C.CONFLICT, False),
        ("unmanaging", C.CONFLICT, False),
        ("reverting", C.CONFLICT, False),
        ("retyping", C.CONFLICT, False),
        ("maintenance", C.CONFLICT, False),
        ("of another release", C.CONFLICT, False),
        ("deleted", C.REFUSED, False),
        ("error", C.REFUSED, False),
        ("error_deleting", C.REFUSED, False),
        ("deleting", C.REFUSED, False),
    ],
)
def test_the_snapshots_status_decides_whether_the_error_is_transient(
    state: str, category: Category, *, busy: bool
) -> None:
    """The status in the text decides the category, since Cinder answers 400 for all of them."""
    text = (
        f'Invalid snapshot: Snapshot to be backed up must be available, but the current status is "{state}".'
    )
    error = create_error(400, httpx.Headers(), json.dumps(_bad_request(text)).encode())
    assert (category, busy) == (error.category, error.busy)


@pytest.mark.parametrize(
    ("status", "document", "category"),
    [
        (400, _bad_request("Invalid backup: No backups available to do an incremental backup."), C.REFUSED),
        (
            400,
            _bad_request("Invalid backup: The parent backup must be available for incremental backup."),
            C.CONFLICT,
        ),
        (400, _bad_request("Invalid input for field/attribute name. Value: x. 'x' is too long"), C.INVALID),
        (400, _bad_request("'backup' is a required property"), C.INVALID),
        (400, _bad_request("Malformed request body"), C.INVALID),
        (400, _bad_request("Malformed request url"), C.REFUSED),
        (400, _bad_request("Invalid volume: Volume a does not match with snapshot.volume_id b."), C.INVALID),
        (413, {"overLimit": {"code": 413, "message": "BackupLimitExceeded: Maximum (10)"}}, C.QUOTA),
        (413, {"overLimit": {"code": 413, "message": "VolumeBackupSizeExceedsAvailableQuota"}}, C.QUOTA),
        (413, {"overLimit": {"code": 413, "message": "Slow", "retryAfter": "7"}}, C.THROTTLED),
        (413, {"overLimitFault": {"code": 413, "message": "This request was rate-limited."}}, C.THROTTLED),
        (413, {"message": "Request is too large.", "code": "413 Request Entity Too Large"}, C.INVALID),
        (404, {"itemNotFound": {"code": 404, "message": "Snapshot s could not be found."}}, C.NOT_FOUND),
        (404, {"message": "The resource could not be found.", "code": "404 Not Found"}, C.UNAVAILABLE),
        (404, {"error_code": "APIGW.0101", "error_msg": "The API does not exist"}, C.UNAVAILABLE),
        (500, {"error_code": "APIGW.0103", "error_msg": "backend not found"}, C.UNAVAILABLE),
        (502, {"error_code": "APIGW.0201", "error_msg": "backend unavailable"}, C.IN_DOUBT),
        (302, b"", C.UNAVAILABLE),
        (418, {"teapot": {"message": "no", "code": 418}}, C.REFUSED),
        (418, b"", C.UNAVAILABLE),
        (499, b"", C.IN_DOUBT),
        (599, b"", C.IN_DOUBT),
    ],
)
def test_text_and_fault_name_distinguish_errors_of_one_status(
    status: int, document: object, category: Category
) -> None:
    """Quota, throttling and size share 413; a wrong path and a missing object share 404."""
    assert category == _created(status, document)


def _code(code: str, name: str = "error") -> bytes:
    """Return an error body with a code, in the form of VBS, or flat in that of CBR and the gateway."""
    flat = {"error_code": code, "error_msg": "m", "request_id": "r"}
    return json.dumps(flat if name == "flat" else {name: {"code": code, "message": "m"}}).encode()


@pytest.mark.parametrize(
    ("status", "codes", "category", "busy"),
    [
        (404, "BackupService.7000 BackupService.7202 BackupService.6105", C.NOT_FOUND, False),
        (404, "VolumeBackup.0207 VolumeBackup.0111 VBS.0021 EVS.5404", C.NOT_FOUND, False),
        (400, "BackupService.6125 BackupService.6203 VolumeBackup.0013 VBS.0013", C.CONFLICT, True),
        (500, "BackupService.0002", C.CONFLICT, True),
        (400, "BackupService.7003 BackupService.7203 BackupService.6215", C.CONFLICT, False),
        (400, "BackupService.6113 BackupService.6134 EVS.2043 VBS.0012", C.CONFLICT, False),
        (400, "BackupService.6114 BackupService.6129 BackupService.6133", C.QUOTA, False),
        (400, "BackupService.6142 BackupService.6100 BackupService.8300 EVS.1034", C.QUOTA, False),
        (413, "EVS.5413", C.QUOTA, False),
        (400, "BackupService.7204 BackupService.9900 VBS.0003", C.INVALID, False),
        (403, "BackupService.8600 EVS.0003 EVS.2144 VolumeBackup.0042", C.DENIED, False),
        (400, "BackupService.7001 BackupService.7106", C.REFUSED, False),
        (500, "BackupService.6137", C.REFUSED, False),
        (500, "BackupService.9910 EVS.2002 EVS.5500", C.IN_DOUBT, False),
        (503, "EVS.5503 VolumeBackup.0900", C.UNAVAILABLE, False),
        (404, "VolumeBackup.0110 Common.0011", C.UNAVAILABLE, False),
    ],
)
@pytest.mark.parametrize("name", ["error", "badRequest", "flat"])
def test_each_family_of_codes_is_in_its_category(
    status: int, codes: str, category: Category, name: str, *, busy: bool
) -> None:
    """Busy, conflict, quota, not found, denied and invalid are told apart by the service's own codes."""
    for code in codes.split():
        error = create_error(status, httpx.Headers(), _code(code, name))
        assert (category, busy, True) == (error.category, error.busy, error.from_api), code


@pytest.mark.parametrize(
    "code", ["VolumeBackup.9999", "BackupService.0815", "EVS.4711", "CSBS.6000", "Volume.123"]
)
@pytest.mark.parametrize("name", ["error", "itemNotFound", "flat"])
def test_a_404_with_an_unknown_code_of_a_service_is_this_messages(code: str, name: str) -> None:
    """The API has spoken: an object of this message does not exist, and other messages are not concerned."""
    body = _code(code, name)
    error = create_error(404, httpx.Headers(), body)
    assert (C.NOT_FOUND, True) == (error.category, error.from_api)
    assert "VBS_ENDPOINT" not in error.message
    assert says_absent(404, body)


@pytest.mark.parametrize("code", ["APIGW.0101", "APIG.0101", "APIGW.9999", "IAM.0004", "404"])
@pytest.mark.parametrize("name", ["error", "flat"])
def test_a_404_of_the_gateway_is_a_wrong_path(code: str, name: str) -> None:
    """The gateway, the sign-in and a bare 404 say nothing about an object."""
    body = _code(code, name)
    error = create_error(404, httpx.Headers(), body)
    assert (C.UNAVAILABLE, False) == (error.category, error.from_api)
    assert "VBS_ENDPOINT" in error.message
    assert not says_absent(404, body)


def test_a_list_that_is_not_found_by_a_code_concerns_this_message() -> None:
    """A list of the backups of a disk that does not exist stops no other message, and is no absence."""
    categories = [
        lookup_error(404, httpx.Headers(), body).category
        for body in (
            _code("BackupService.7000"),
            _code("404", "itemNotFound"),
            _code("IAM.0004"),
        )
    ]
    assert [C.NOT_FOUND, C.UNAVAILABLE, C.UNAVAILABLE] == categories


@pytest.mark.parametrize(
    "code", ["VolumeBackup.0110", "VolumeBackup.0042", "common.0011", "BackupService.6203"]
)
def test_only_a_code_that_means_not_found_is_an_absence(code: str) -> None:
    """A 404 whose code says that a query failed proves nothing about a backup."""
    assert not says_absent(404, _code(code))


@pytest.mark.parametrize("status", [400, 403, 413])
@pytest.mark.parametrize(
    "text",
    [
        "Quota exceeded for resources: ['backups']",
        "BackupLimitExceeded: Maximum number of backups allowed (10) exceeded",
        "Requested backup exceeds allowed Backup gigabytes quota. Requested 40G, quota is 1000G",
        "SnapshotLimitExceeded: Maximum number of snapshots allowed (10) exceeded",
    ],
)
def test_a_quota_is_recognised_by_its_text(status: int, text: str) -> None:
    """OpenStack's services answer a used up quota with one of three statuses."""
    names = {400: "badRequest", 403: "forbidden", 413: "overLimit"}
    assert C.QUOTA == _created(status, {names[status]: {"code": status, "message": text}})


@pytest.mark.parametrize("text", ["Policy doesn't allow backup:create to be performed.", "no quota policy"])
def test_a_refusal_of_rights_is_no_quota(text: str) -> None:
    """A 403 stays a refusal of rights."""
    assert C.DENIED == _created(403, {"forbidden": {"code": 403, "message": text}})


@pytest.mark.parametrize("status", [404, 302])
def test_the_error_for_a_wrong_path_names_the_settings(status: int) -> None:
    """The error for a wrong path names VBS_ENDPOINT, so that the operator knows which setting to check."""
    assert "VBS_ENDPOINT" in create_error(status, httpx.Headers(), b"").message


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_a_failed_get_is_never_in_doubt(status: int) -> None:
    """A failed GET is unavailable, never in doubt, since a GET changes nothing."""
    assert C.UNAVAILABLE == lookup_error(status, httpx.Headers(), b"").category


def test_only_a_404_of_the_api_itself_proves_absence() -> None:
    """A gateway's 404, an HTML page or truncated JSON proves nothing about a backup."""
    fault = b'{"itemNotFound": {"code": 404, "message": "gone"}}'
    others = (b"", b"<h1>Not Found</h1>", fault[:-3], b'{"error_code": "APIGW.0101", "error_msg": "x"}')
    assert [True, False, False, False, False] == [says_absent(404, body) for body in (fault, *others)]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"text"', b"[1, 2", b"null", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"a": 1}']
)
def test_any_body_can_be_parsed(body: bytes) -> None:
    """Any body that another server may send gives an error with a text, not an exception."""
    error = create_error(400, httpx.Headers(), body)
    assert (C.UNAVAILABLE, True) == (error.category, bool(error.message))


def test_html_is_reduced_to_its_text() -> None:
    """Markup, scripts and line breaks are removed."""
    page = b"<html><head><title>x</title></head><body><h1>502 Bad</h1>\r\n<script>1<2</script>nginx</body>"
    assert create_error(502, httpx.Headers(), page).message.startswith("502 Bad nginx (")


def test_a_long_text_is_truncated_and_printable() -> None:
    """An error's text goes into headers, so it is one printable line of at most 1,000 characters."""
    message = create_error(
        400, httpx.Headers(), json.dumps(_bad_request("a\x00b\n \x1b " * 999)).encode()
    ).message
    assert (1000, True) == (len(message), message.isprintable())


def test_a_quoted_token_is_removed() -> None:
    """The error has no token, although some gateways quote the request in their errors."""
    body = json.dumps({"error_code": "APIGW.0301", "error_msg": f"bad token {'MII' * 99}"}).encode()
    assert "bad token …" == create_error(401, httpx.Headers(), body).message


def test_the_request_id_is_the_headers_else_the_bodys() -> None:
    """The header's request id precedes the body's; the operators of the API find the call by it."""
    body = b'{"error_code": "APIGW.0301", "error_msg": "m", "request_id": "b"}'
    header = httpx.Headers({"X-Openstack-Request-Id": "req-1"})
    assert ["req-1", "b"] == [create_error(401, h, body).request_id for h in (header, httpx.Headers())]


def _captured() -> list[tuple[str, int, bytes]]:
    exchanges = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    refused = [e for e in exchanges if e["request"]["method"] == "POST" and e["response"]["status"] >= 400]
    return [(e["case"], e["response"]["status"], json.dumps(e["response"]["body"]).encode()) for e in refused]


@pytest.mark.parametrize(("case", "status", "body"), _captured())
def test_each_captured_refusal_of_cinder_is_classified(case: str, status: int, body: bytes) -> None:
    """Each captured refusal has its text, and only the 500 for an empty body is in doubt."""
    error = create_error(status, httpx.Headers(), body)
    assert (status == 500, True) == (error.category is C.IN_DOUBT, bool(error.message)), case
