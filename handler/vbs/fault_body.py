"""Parse the body of an error answer, and decide whether the API itself gave it.

The API's own forms, also those of IAM and Keystone:

1. ``{"badRequest": {"code": 400, "message": "…"}}``: Cinder; the name depends on the HTTP status
2. ``{"error": {"code": "VolumeBackup.0012", "message": "…"}}``: VBS and EVS; with a title, Keystone and IAM
3. ``{"error_code": "IAM.0101", "error_msg": "…", "request_id": "…"}``: IAM v3.0 and newer services
4. ``{"message": "…<br />", "code": "413 Request Entity Too Large", "title": "…"}``: Cinder's outer layers

All others come from something on the way: Huawei's gateway, whose codes begin with ``APIGW.`` or ``APIG.``,
other gateways (Kong and AWS ``{"message": …}``, APISIX ``{"error_msg": …}``, Spring, WSO2, Kubernetes, gRPC),
and proxies (HTML, text, an empty body, truncated JSON).
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from handler.vbs.transport.body import Unreadable, parse_json

TEXT_LIMIT = 1000
"""How many characters of the API's text are kept: it goes into events and headers that share one frame."""

# Compiled on first use: the cold start of a function does not wait for them.
_HIDDEN = r"(?is)<(script|style|head)\b.*?</\1\s*>"
_TAG = r"</?[a-zA-Z!][^<>]*>"
_UNPRINTABLE = r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]+"
_LONG_WORD = r"[\w+/=.-]{120,}"
_SHORT = 120
_SERVICE_CODE = r"(?!APIGW?\.)[A-Za-z]{2,20}\.\d{3,5}"

_FAULT_NAMES = frozenset(
    {
        "badRequest", "unauthorized", "forbidden", "itemNotFound", "badMethod", "conflictingRequest",
        "overLimit", "overLimitFault", "badMediaType", "notImplemented", "serviceUnavailable", "computeFault",
    }
)  # fmt: skip
_FAULT_FIELDS = frozenset({"code", "message", "title", "details", "retryAfter"})
_OUTER_FIELDS = frozenset({"message", "code", "title"})
_FLAT_FIELDS = frozenset({"error_code", "error_msg", "request_id", "encoded_authorization_message"})


class Fault(NamedTuple):
    """The content of an error body; ``name`` is the fault's name (``itemNotFound``) if the shape has one.

    ``own`` says that it has one of the API's own forms, for the HTTP status of its answer.
    """

    name: str | None = None
    code: str | None = None
    message: str = ""
    request_id: str | None = None
    retry_after: str | None = None
    own: bool = False


def read_fault(status: int, body: bytes) -> Fault:
    """Parse a body of any shape; of an unknown shape the truncated text is the message."""
    try:
        document = parse_json(body)
    except Unreadable:
        return Fault(message=clean(body[: 64 * TEXT_LIMIT].decode("utf-8", "replace")))
    if not isinstance(document, dict):
        return Fault(message=clean(str(document)[: 64 * TEXT_LIMIT]))
    for name, inner in document.items():
        if isinstance(inner, dict) and ("message" in inner or "code" in inner):
            own = document.keys() <= {name, "request_id"} and _is_own_fault(name, inner, status)
            return _fault(None if name == "error" else name, {**document, **inner}, own=own)
    return _fault(None, document, own=_is_own_flat(document, status))


def _is_own_fault(name: str, inner: Mapping[str, Any], status: int) -> bool:
    """Return whether a named fault is one of Cinder, VBS, EVS, Keystone or IAM (forms 1 and 2)."""
    code = str(inner.get("code", ""))
    known = name in _FAULT_NAMES or code == str(status) or is_service_code(code)
    return known and inner.keys() <= _FAULT_FIELDS


def _is_own_flat(fields: Mapping[str, Any], status: int) -> bool:
    """Return whether the fields are of form 3 or 4."""
    if "message" in fields and fields.keys() <= _OUTER_FIELDS:
        return str(fields.get("code", "")).startswith(f"{status} ")
    return fields.keys() <= _FLAT_FIELDS and is_service_code(str(fields.get("error_code", "")))


def is_service_code(code: str) -> bool:
    """Return whether a code is one of a service, such as ``VolumeBackup.0012``, and not of the gateway."""
    return re.fullmatch(_SERVICE_CODE, code) is not None


def _fault(name: str | None, fields: Mapping[str, Any], *, own: bool) -> Fault:
    return Fault(
        name=_short(name),
        code=_short(_first(fields, "error_code", "code")),
        message=clean(_first(fields, "error_msg", "message", "title", "error") or ""),
        request_id=_short(_first(fields, "request_id")),
        retry_after=_short(_first(fields, "retryAfter")),
        own=own,
    )


def _first(fields: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def _short(text: str | None) -> str | None:
    return clean(text)[:_SHORT] or None if text else None


def clean(text: str) -> str:
    """Return one printable line of at most ``TEXT_LIMIT`` characters.

    Removes markup, and words that are long enough to be a token: some gateways quote the request.
    """
    text = re.sub(_TAG, " ", re.sub(_HIDDEN, " ", text))
    if "&" in text:
        # Imported only where a text needs it: the table of HTML names takes 1 ms of a cold start.
        from html import unescape

        text = unescape(text)
    text = re.sub(_UNPRINTABLE, " ", text).strip()
    text = re.sub(_LONG_WORD, "…", text)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
