"""Logs: one line for each thing that happened, with a fixed vocabulary of ``action``."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from handler.process import Handled

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and value is not None}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, sentence, and the ids behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items())
        text = f"{time} {record.levelname.lower():7} {record.getMessage()}" + (
            f"  ({extra})" if extra else ""
        )
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(level: str, form: Literal["json", "text"] | None) -> None:
    """Send the program's logs to standard error; ``form`` None means text on a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    chosen = form or ("text" if sys.stderr.isatty() else "json")
    handler.setFormatter(TextFormatter() if chosen == "text" else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # pika tells each step of each connection, and httpx each request.
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, logging.getLevelName(level)))


log = logging.getLogger(__name__)


def log_handled(handled: Handled) -> None:
    """Tell of one handled message."""
    if not log.isEnabledFor(logging.DEBUG):
        return
    ids = handled.ids
    extra = {
        "action": f"message.{handled.kind}",
        "event_id": ids.event_id,
        "project_id": ids.project_id,
        "snapshot_id": ids.snapshot_id,
        "reason": handled.reason,
    }
    log.debug("%s", handled.kind, extra=extra)


_QUIET: Mapping[str, int] = {"pika": logging.CRITICAL, "httpx": logging.WARNING, "httpcore": logging.WARNING}
