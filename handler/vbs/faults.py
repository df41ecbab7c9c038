"""Classify an error answer of the API: HTTP status, error code and text become an ``ApiError``.

A known code decides first (``codes``), then a known text, then the status. Sources of the tables here: the
status codes on the create call's page, and Cinder's own texts. They classify the create call;
``lookup_error`` adapts them to GET.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import NamedTuple

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.chain import parent_problem
from handler.vbs.codes import BUSY_CODES, BY_STATUS, CODES, GATEWAY, PROJECT_CODES, SIGN_IN
from handler.vbs.fault_body import Fault, clean, is_service_code, read_fault
from handler.vbs.retry_after import retry_after
from handler.vbs.unknown_codes import UnknownCodes

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


UNKNOWN = UnknownCodes()
"""What this process has met."""

_AFTER_PASSING_ON = frozenset({408, 499})
"""A proxy's words for a request that it had passed on, or for a client that had gone."""


class TextRule(NamedTuple):
    """Classifies by Cinder's text, where Cinder uses one status for several errors."""

    status: int
    pattern: str
    category: Category
    busy: bool = False


_STATUS_IS = r"""must be available.*current status is ["']"""
_ENDS = r"error\w*|deleting|deleted"
"""The states that a snapshot or a volume does not leave. In all others it waits for some work: creating,
restoring, updating, unmanaging (cinder/objects/fields.py), rollbacking (EVS), reverting, extending, …"""
_OVER_QUOTA = (
    r"quota (?:is |was |has been )?(?:exceeded|used up|reached)|exceeds? [\w ]{0,40}quota|insufficient quota"
    r"|LimitExceeded|ExceedsAvailableQuota|Maximum number of (?:backups|snapshots|volumes)"
)

TEXTS: tuple[TextRule, ...] = (
    TextRule(400, rf"{_STATUS_IS}backing-up\b", C.CONFLICT, busy=True),
    TextRule(400, rf"{_STATUS_IS}(?:{_ENDS})\b", C.REFUSED),
    TextRule(400, _STATUS_IS, C.CONFLICT),
    TextRule(400, r"No backups available to do an incremental backup", C.REFUSED),
    TextRule(400, r"parent backup must be available for incremental backup", C.CONFLICT),
    TextRule(400, r"does not match with snapshot\.volume_id", C.INVALID),
    TextRule(400, r"Invalid input for field/attribute|is a required property", C.INVALID),
    TextRule(400, r"Malformed request body|Incorrect request body format", C.INVALID),
    TextRule(400, r"Malformed request url", C.REFUSED),  # the token is another project's
    TextRule(413, rf"{_OVER_QUOTA}|quota", C.QUOTA),
    TextRule(403, _OVER_QUOTA, C.QUOTA),  # as other services of OpenStack answer, and forks of Cinder
    TextRule(400, _OVER_QUOTA, C.QUOTA),
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
        parent=parent_problem(status, fault.message) if own else None,
    )


def is_own(fault: Fault) -> bool:
    """Return whether the API itself gave the answer: by its form, or by a code that only the API has."""
    code = fault.code or ""
    return fault.own or code in PROJECT_CODES or (code in CODES and not code.startswith(GATEWAY))


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

    A GET changes nothing, so it is never in doubt. A list that is "not found" proves no absence; by a code of
    the API that concerns this message: its disk does not exist.
    """
    error = create_error(status, headers, body)
    by_code = error.category is C.NOT_FOUND and is_service_code(error.code or "")
    if error.category is C.IN_DOUBT or (error.category is C.NOT_FOUND and not by_code):
        return replace(error, category=C.UNAVAILABLE)
    return error


def says_absent(status: int, body: bytes) -> bool:
    """Return whether the API itself says that the object does not exist; a wrong path is a 404 as well."""
    if status != HTTPStatus.NOT_FOUND:
        return False
    fault = read_fault(status, body)
    if not is_own(fault) or _wrong_path(status, fault):
        return False
    return _classify(status, fault, None)[0] is C.NOT_FOUND


def _wrong_path(status: int, fault: Fault) -> bool:
    """Return whether a 404 speaks of the path: it is bare, or a code of the gateway or of the sign-in."""
    if status != HTTPStatus.NOT_FOUND or fault.name == "itemNotFound":
        return False
    code = fault.code or ""
    return not is_service_code(code) or code.startswith(SIGN_IN)


def _classify(status: int, fault: Fault, wait: float | None) -> tuple[Category, bool]:
    code = fault.code or ""
    if (by_code := CODES.get(code)) is not None:
        return by_code, code in BUSY_CODES
    if code not in BY_STATUS and (is_service_code(code) or code.startswith(GATEWAY)):
        UNKNOWN.count(code, status)
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
