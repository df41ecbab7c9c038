"""Sets up logging as JSON or text; every line has an ``action`` of ``handler.telemetry.actions``.

Each line that any module writes while a message is handled has the message's ids.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from events.errors import EventIds
from handler.printable import printable
from handler.redaction import redacted

ABOUT: ContextVar[tuple[EventIds, str | None] | None] = ContextVar("about", default=None)
"""The message in hand: its ids, and its ``traceparent``."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET: Mapping[str, int] = {
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "pika": logging.CRITICAL,
}
_IDS = ("event_id", "project_id", "volume_id", "snapshot_id")
_FOR_PROGRAMS = frozenset({"action", "project_id", "volume_id", "trace_id"}) | {
    "events", "outcomes", "waits", "rate", "in_hand", "circuit_breaker",
}  # fmt: skip
"""The fields that text lines leave out."""

_TRACEBACK: Final = "\n"
"""What lines of a traceback keep."""

_LEVEL_COLOURS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "31"}


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": redacted(record.getMessage()),
            **{key: _redacted(value) for key, value in _extra(record).items()},
        }
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        text = json.dumps(line, default=str, ensure_ascii=False)
        return text if text.isprintable() else json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Formats a record as text: time, level unless it is INFO, sentence, and the ids after it."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Control characters are replaced, so that input cannot split the line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        sentence = printable(redacted(record.getMessage()))
        if record.levelno != logging.INFO:
            sentence = f"{record.levelname.lower()}: {sentence}"
        ids = " ".join(f"{key}={value}" for key, value in _extra(record).items() if key not in _FOR_PROGRAMS)
        ids = printable(redacted(ids))
        if self._colour:
            sentence = f"\x1b[{_LEVEL_COLOURS.get(record.levelname, '0')}m{sentence}\x1b[0m"
            ids = f"\x1b[2m{ids}\x1b[0m"
        line = f"{time} {sentence}  {ids}".rstrip()
        if record.exc_info is None:
            return line
        return f"{line}\n{printable(redacted(self.formatException(record.exc_info)), keep=_TRACEBACK)}"


def _redacted(value: object) -> object:
    """Return a value for JSON without secrets."""
    match value:
        case int() | float() | None:
            return value
        case dict():
            return {key: _redacted(item) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item) for item in value]
        case _:
            return redacted(str(value))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    found = dict(_about())
    found.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
    return {key: value for key, value in found.items() if value is not None}


def _about() -> Iterator[tuple[str, str | None]]:
    """Yield the ids of the message in hand."""
    about = ABOUT.get()
    if about is None:
        return
    ids, traceparent = about
    for name in _IDS:
        yield name, getattr(ids, name)
    if traceparent:
        yield "trace_id", traceparent.split("-")[1]


def _numbered(worker: int, record: logging.LogRecord) -> bool:
    record.worker = worker
    return True


def set_up(level: str, form: Literal["json", "text"] | None, *, worker: int | None = None) -> None:
    """Write logs to standard error; ``form`` None means text on a terminal, else JSON.

    ``worker`` is this process's number under a supervisor: a field of each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    if worker is not None:
        handler.addFilter(partial(_numbered, worker))
    terminal = sys.stderr.isatty()
    chosen = form or ("text" if terminal else "json")
    handler.setFormatter(TextFormatter(colour=terminal) if chosen == "text" else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # pika logs each step of each connection, and httpx each request.
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, logging.getLevelName(level)))
