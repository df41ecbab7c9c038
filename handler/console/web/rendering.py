"""Renders the pages' templates. Every value is escaped, and control characters in it are replaced."""

import time
from collections.abc import Mapping
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
                "can_sign_out": self._sign_out and caller.session.signed_in,
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
    text = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}">{}</time> <span class="age">({})</span>').format(
        at.isoformat(timespec="seconds"), text, age(value)
    )


def age(value: str | float | None) -> str:
    """Return how long ago a time is, or in how long, in one unit."""
    at = _time(value)
    if at is None:
        return "-"
    seconds = (datetime.now(UTC) - at).total_seconds()
    text = _length(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def number(value: float) -> str:
    """Return a number with separators."""
    return f"{value:,}"


def _length(seconds: float) -> str:
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _time(value: str | float | None) -> datetime | None:
    if value is None:
        return None
    return datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)


def _safe(value: object) -> object:
    """Replace what would reorder or hide text; markup is our own, whose values have passed here."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, keep="\n\t")
    return value
