"""Renders the pages' templates. Every value is escaped, and control characters in it are replaced."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from handler.console.web.guard import Caller
from handler.console.web.sessions import Sessions
from handler.console.web.sparkline import sparkline
from handler.printable import printable

_FOLDER = Path(__file__).parent
_ISO = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?(?:[+-]\d\d:\d\d|Z)(?!\w)")
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))
STATIC: Mapping[str, str] = {
    "console.css": "text/css; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The static files, and their content types."""


class Pages:
    """Renders pages for the caller of a request."""

    def __init__(self, sessions: Sessions, *, sign_out: bool) -> None:
        self._sessions = sessions
        self._sign_out = sign_out
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_safe,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "moment": moment,
            "moments": moments,
            "date": date,
            "age": age,
            "number": number,
            "seconds": _length,
            "sparkline": sparkline,
        }

    def page(
        self, request: Request, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any
    ) -> HTMLResponse:
        """Return a rendered page. ``refresh`` among the values is in seconds."""
        caller: Caller = request.state.caller
        text = self._templates.get_template(template).render(
            {
                "path": request.url.path,
                "url": str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
                "csrf_token": self._sessions.csrf_token(caller.session),
                "can_sign_out": self._sign_out and caller.session.role is not None,
                "may_act": caller.may_act,
                "refresh": None,
                "now": time.time(),
                **values,
            }
        )
        return HTMLResponse(text, status)


def static_files() -> Mapping[str, bytes]:
    """Read the static files."""
    return {name: (_FOLDER / "static" / name).read_bytes() for name in STATIC}


def moment(value: str | float | None) -> Markup | str:
    """Return a time of UTC as an element that says when, and how long ago or in how long."""
    at = _time(value)
    if at is None:
        return "-"
    return Markup('{} <span class="age">({})</span>').format(date(value), _age(at))


def moments(text: str) -> Markup:
    """Return a sentence in which each time in ISO 8601 is an element as of ``moment``."""
    found, end = Markup(), 0
    for each in _ISO.finditer(text):
        with suppress(ValueError, OverflowError):  # texts from outside have times that are none
            at = moment(each[0])
            found += Markup("{}{}").format(_safe(text[end : each.start()]), at)
            end = each.end()
    return found + Markup("{}").format(_safe(text[end:]))


def date(value: str | float | None) -> Markup | str:
    """Return a time of UTC as an element that says when."""
    at = _time(value)
    return "-" if at is None else _element(at, f"{at:%Y-%m-%d %H:%M:%S} UTC")


def age(value: str | float | None) -> Markup | str:
    """Return how long ago a time is, or in how long, in one unit, as an element that knows when."""
    at = _time(value)
    return "-" if at is None else _element(at, _age(at))


def number(value: float) -> str:
    """Return a number with separators."""
    return f"{value:,}"


def _element(at: datetime, text: str) -> Markup:
    exact = at.isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, text)


def _age(at: datetime) -> str:
    seconds = (datetime.now(UTC) - at).total_seconds()
    text = _length(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def _length(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _time(value: str | float | None) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.fromtimestamp(value, UTC)


def _safe(value: object) -> object:
    """Replace what would reorder or hide text; markup is our own, whose values have passed here."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, keep="\n\t")
    return value
