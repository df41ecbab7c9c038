"""Classify an error answer of the API: HTTP status, error code and text become an ``ApiError``.

A known code decides first, then a known text, then the status. Sources of the tables: the status codes on the
create call's page, the lists of error codes of VBS and of the gateway, and Cinder's own texts. They classify
the create call; ``lookup_error`` adapts them to GET.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import NamedTuple

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.fault_body import Fault, clean, read_fault
from handler.vbs.retry_after import retry_after

C = Category

STATUSES: Mapping[int, Category] = {
    400: C.REFUSED,
    401: C.DENIED,
    402: C.DENIED,  # arrears
    403: C.DENIED,
    404: C.NOT_FOUND,  # only if the API itself says so; see _wrong_path
    405: C.REFUSED,
    406: C.REFUSED,
    407: C.DENIED,  # a proxy requires authentication
    408: C.IN_DOUBT,  # the server or something behind it timed out; the answer does not say which
    409: C.CONFLICT,
    413: C.QUOTA,  # Cinder's overLimit
    414: C.INVALID,
    415: C.REFUSED,
    425: C.UNAVAILABLE,
    429: C.THROTTLED,
    431: C.DENIED,  # the token is the only long header
    494: C.DENIED,  # nginx's number for 431
    500: C.IN_DOUBT,
    501: C.REFUSED,
    502: C.IN_DOUBT,
    503: C.UNAVAILABLE,  # the API did not take the request
    504: C.IN_DOUBT,
}


def _volume_backup(category: Category, *numbers: str) -> Iterator[tuple[str, Category]]:
    return ((f"VolumeBackup.{number}", category) for number in numbers)


def _gateway(category: Category, *numbers: str) -> Iterator[tuple[str, Category]]:
    return ((f"{prefix}.{number}", category) for number in numbers for prefix in ("APIGW", "APIG"))


CODES: Mapping[str, Category] = dict(
    [
        ("common.0011", C.UNAVAILABLE),
        # VBS: the request breaks a rule
        *_volume_backup(C.INVALID, "0002", "0003", "0004", "0005", "0006", "0007", "0010", "0011"),
        *_volume_backup(C.INVALID, "0026", "0049", "0050"),
        # VBS: rights, then permanent refusals
        *_volume_backup(C.DENIED, "0041", "0042", "0044"),
        *_volume_backup(C.NOT_FOUND, "0021"),
        *_volume_backup(C.REFUSED, "0053", "0062"),
        # VBS: the disk is in another state or has a backup in progress, or its snapshot does not exist yet
        *_volume_backup(C.CONFLICT, "0012", "0013", "0020", "0205", "0206"),
        # VBS: a step failed for this disk before its backup began; other disks are not affected
        *_volume_backup(C.CONFLICT, "0014", "0017", "0018", "0019", "0022", "0023", "0024", "0025"),
        *_volume_backup(C.CONFLICT, "0037", "0038", "0063"),
        # VBS: the service itself fails
        *_volume_backup(C.UNAVAILABLE, "0008", "0009", "0035", "0036", "0043", "0070", "0900"),
        # VBS: the backup was begun; only a lookup shows whether it exists
        *_volume_backup(C.IN_DOUBT, "0027", "0028", "0029", "0030", "0039", "0064"),
        # VBS: 20 backups of the disk; counts and capacities
        *_volume_backup(C.QUOTA, "0040", *(f"00{number}" for number in range(71, 85))),
        # EVS
        ("EVS.5400", C.INVALID),
        ("EVS.2045", C.INVALID),
        ("EVS.5404", C.NOT_FOUND),
        ("EVS.5413", C.QUOTA),
        ("EVS.2043", C.CONFLICT),
        # gateway: its own failure, before it called the API
        *_gateway(C.UNAVAILABLE, "0101", "0103", "0104", "0105", "0204", "0605", "0606", "0607"),
        *_gateway(C.UNAVAILABLE, "0608", "0609", "0610", "0611", "0612", "0613", "0615", "0616"),
        *_gateway(C.DENIED, "0205", "0301", "0302", "0303", "0304", "0305", "0306", "0307", "0310"),
        *_gateway(C.DENIED, "0311", "0312", "0313", "0314", "0401", "0402", "0404", "0405", "0502"),
        *_gateway(C.THROTTLED, "0308", "0501"),
    ]
)

_AFTER_PASSING_ON = frozenset({408, 499})
"""A proxy's words for a request that it had passed on, or for a client that had gone."""

_GATEWAY = ("APIGW.", "APIG.")

PROJECT_CODES = frozenset({"APIGW.0310", "APIG.0310"})
"""The gateway's codes for a refusal of the request's project; its other refusals concern all projects."""

BUSY_CODES = frozenset({"VolumeBackup.0013", "VolumeBackup.0206"})
"""Codes that mean: a backup of this disk is in progress."""


class TextRule(NamedTuple):
    """Classifies by Cinder's text, where Cinder uses one status for several errors."""

    status: int
    pattern: str
    category: Category
    busy: bool = False


_STATUS_IS = r"""must be available.*current status is ["']"""
_PASSING = "creating|attaching|detaching|uploading|downloading|extending|restoring-backup|rollbacking"

TEXTS: tuple[TextRule, ...] = (
    TextRule(400, rf"{_STATUS_IS}backing-up\b", C.CONFLICT, busy=True),
    TextRule(400, rf"{_STATUS_IS}(?:{_PASSING})\b", C.CONFLICT),
    TextRule(400, _STATUS_IS, C.REFUSED),
    TextRule(400, r"No backups available to do an incremental backup", C.REFUSED),
    TextRule(400, r"does not match with snapshot\.volume_id", C.INVALID),
    TextRule(400, r"Invalid input for field/attribute|is a required property", C.INVALID),
    TextRule(400, r"Malformed request body|Incorrect request body format", C.INVALID),
    TextRule(400, r"Malformed request url", C.REFUSED),  # the token is another project's
    TextRule(413, r"BackupLimitExceeded|ExceedsAvailableQuota|quota", C.QUOTA),
    TextRule(413, r"Request (?:is|entity) too large|body .*(?:too large|above|exceed)", C.INVALID),
)


def create_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Classify an error answer to the create call. ``headers`` are looked up by lower-case names."""
    fault = read_fault(status, body)
    wait = retry_after(headers, fault.retry_after, fault.message)
    category, busy = _classify(status, fault, wait)
    message = fault.message or _phrase(status)
    wrong_path = 300 <= status < 400 or _wrong_path(status, fault)
    own = is_own(fault)
    if not own and fault.code not in CODES:
        category = _of_another(status, category)
    if wrong_path:
        category = C.UNAVAILABLE
    if wrong_path or (not own and fault.code not in CODES):
        message = clean(f"{message} (this may not be the API: check VBS_ENDPOINT and VBS_API_VERSION)")
    return ApiError(
        category,
        message,
        status=status,
        code=fault.code,
        request_id=request_id(headers) or fault.request_id,
        retry_after=wait,
        busy=busy,
        from_api=own and not wrong_path,
    )


def is_own(fault: Fault) -> bool:
    """Return whether the API itself gave the answer: by its form, or by a code that only the API has."""
    code = fault.code or ""
    return fault.own or code in PROJECT_CODES or (code in CODES and not code.startswith(_GATEWAY))


def _of_another(status: int, category: Category) -> Category:
    """Return what an answer means that is not in the API's own form: a proxy or another server gave it.

    Its refusal concerns every message, not this one. Its report that a server failed comes perhaps after the
    request was passed on, so that the backup may exist.
    """
    if status in _AFTER_PASSING_ON or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return C.IN_DOUBT
    if category is C.DENIED and status == HTTPStatus.FORBIDDEN:
        return C.UNAVAILABLE
    return category if category in (C.THROTTLED, C.IN_DOUBT, C.DENIED) else C.UNAVAILABLE


def lookup_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Classify an error answer to a GET.

    A GET changes nothing, so it is never in doubt. A list that is "not found" proves no absence.
    """
    error = create_error(status, headers, body)
    if error.category in (C.IN_DOUBT, C.NOT_FOUND):
        return replace(error, category=C.UNAVAILABLE)
    return error


def says_absent(status: int, body: bytes) -> bool:
    """Return whether the API itself says that the object does not exist; a wrong path is a 404 as well."""
    if status != HTTPStatus.NOT_FOUND:
        return False
    fault = read_fault(status, body)
    return is_own(fault) and not _wrong_path(status, fault)


def _wrong_path(status: int, fault: Fault) -> bool:
    absent = fault.name == "itemNotFound" or CODES.get(fault.code or "") is C.NOT_FOUND
    return status == HTTPStatus.NOT_FOUND and not absent


def _classify(status: int, fault: Fault, wait: float | None) -> tuple[Category, bool]:
    by_code = CODES.get(fault.code or "")
    if by_code is not None:
        return by_code, fault.code in BUSY_CODES
    for rule in TEXTS:
        if rule.status == status and re.search(rule.pattern, fault.message, re.IGNORECASE):
            return rule.category, rule.busy
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return _over_limit(fault, wait), False
    return by_status(status), False


def _over_limit(fault: Fault, wait: float | None) -> Category:
    """Classify a 413 whose text does not mention a quota.

    Old throttling gives a time to wait; Cinder's quota error gives 0.
    """
    if fault.name == "overLimitFault" or wait:
        return C.THROTTLED
    return C.QUOTA if fault.name else C.INVALID


def by_status(status: int) -> Category:
    """Return the category of a status alone; statuses that are not in the table have one by their class."""
    if status in STATUSES:
        return STATUSES[status]
    if 300 <= status < 400:
        return C.UNAVAILABLE
    return C.REFUSED if 400 <= status < 500 else C.IN_DOUBT


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "the answer has no reason"


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the request id by which the operators of the API find the call."""
    for name in ("x-openstack-request-id", "x-request-id", "x-compute-request-id"):
        if value := headers.get(name):
            return clean(value)[:120]
    return None
