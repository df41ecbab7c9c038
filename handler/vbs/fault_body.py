"""Parse the body of an error answer, in each shape that the API, its gateway, IAM or a proxy sends.

1. ``{"badRequest": {"code": 400, "message": "…"}}``: Cinder; the name depends on the HTTP status
2. ``{"error": {"code": "VolumeBackup.0012", "message": "…"}}``: VBS and EVS; with a title, Keystone and IAM
3. ``{"error_code": "APIGW.0301", "error_msg": "…", "request_id": "…"}``: gateway and IAM v3.0
4. ``{"message": "…<br />", "code": "413 Request Entity Too Large", "title": "…"}``: Cinder's outer layers
5. HTML, an empty body, JSON that is not an object, truncated JSON: proxies
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


class Fault(NamedTuple):
    """The content of an error body; ``name`` is the fault's name (``itemNotFound``) if the shape has one.

    ``structured`` says that it has one of the shapes 1 to 4, which the API and its gateway give. Pages of
    proxies, and empty bodies, have none.
    """

    name: str | None = None
    code: str | None = None
    message: str = ""
    request_id: str | None = None
    retry_after: str | None = None
    structured: bool = False


def read_fault(body: bytes) -> Fault:
    """Parse a body of any shape; of an unknown shape the truncated text is the message."""
    try:
        document = parse_json(body)
    except Unreadable:
        return Fault(message=clean(body[: 64 * TEXT_LIMIT].decode("utf-8", "replace")))
    if not isinstance(document, dict):
        return Fault(message=clean(str(document)[: 64 * TEXT_LIMIT]))
    for name, inner in document.items():
        if isinstance(inner, dict) and ("message" in inner or "code" in inner):
            return _fault(None if name == "error" else name, {**document, **inner})
    return _fault(None, document)


def _fault(name: str | None, fields: Mapping[str, Any]) -> Fault:
    return Fault(
        name=_short(name),
        code=_short(_first(fields, "error_code", "code")),
        message=clean(_first(fields, "error_msg", "message", "title", "error") or ""),
        request_id=_short(_first(fields, "request_id")),
        retry_after=_short(_first(fields, "retryAfter")),
        structured=any(key in fields for key in ("code", "error_code", "message", "error_msg")),
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
