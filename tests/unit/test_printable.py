"""Text from outside is printed without control characters, so that it cannot control a terminal."""

import contextlib
import io
import json
import logging
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from handler.commands import watch
from handler.commands.common import fail
from handler.commands.console import SafeConsole
from handler.commands.dead_letters import view
from handler.commands.doctor import _print as print_findings
from handler.doctor.findings import Finding
from handler.printable import REPLACEMENT, printable
from handler.telemetry.logs import JsonFormatter, TextFormatter
from infra.local.display import Line, Plain

UNSAFE = {
    "ESC": "\x1b",
    "OSC": "\x9d",
    "CSI": "\x9b",
    "bell": "\x07",
    "carriage return": "\r",
    "backspace": "\x08",
    "delete": "\x7f",
    "null": "\0",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "right-to-left override": "\u202e",
    "left-to-right embedding": "\u202a",
    "first strong isolate": "\u2068",
    "pop isolate": "\u2069",
    "right-to-left mark": "\u200f",
    "byte order mark": "\ufeff",
    "tag": "\U000e0041",
    "lone surrogate": "\ud800",
}
ALL = "".join(UNSAFE.values())


@pytest.mark.parametrize("char", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_character_is_replaced(char: str) -> None:
    """An unsafe character is replaced, and the text around it stays."""
    assert f"a{REPLACEMENT}b" == printable(f"a{char}b")


@pytest.mark.parametrize(
    "text", ["plain", "Sicherung täglich", "日本語", "\u0646\u200c\u06cc", "a\xa0b", "👩\u200d💻"]
)
def test_text_of_every_script_stays_as_it_is(text: str) -> None:
    """Text in any language stays unchanged, since ids and names may be in any language."""
    assert text == printable(text)


def test_line_ends_stay_where_they_are_wanted() -> None:
    """A line end stays only if ``keep`` has it, as for tracebacks and indented JSON."""
    assert "a\nb" == printable("a\nb", keep="\n")
    assert f"a{REPLACEMENT}b" == printable("a\nb")


def shown_by_watch(text: str) -> str:
    """Return a line of ``watch`` about an outcome that another program has published."""
    out = io.StringIO()
    body = {
        "specversion": "1.0",
        "id": "i",
        "type": "backup.skipped",
        "time": "2026-03-04T02:00:00Z",
        "correlationid": "c",
        "data": {
            "project_id": "p",
            "volume_id": "v",
            "snapshot_id": text,
            "cause": {"id": "e", "source": None, "type": None},
            "attempts": 0,
            "reason": text,
        },
    }
    with contextlib.redirect_stdout(out):
        watch._show_line(json.dumps(body).encode())
    return out.getvalue()


def shown_by_console(text: str) -> str:
    """Return what a console prints: styled, in a table, and plain."""
    out = io.StringIO()
    console = SafeConsole(file=out, width=200)
    table = Table()
    table.add_column("column")
    table.add_row(Text(text, style="red"))
    console.print(table)
    console.print(text, markup=False)
    return out.getvalue()


def shown_by_log(text: str) -> str:
    """Return a line of the text log, with an error's text and an id."""
    error = ValueError(text)
    record = logging.LogRecord("n", logging.ERROR, "p", 1, "%s", (text,), (ValueError, error, None))
    record.event_id = text
    return TextFormatter().format(record)


def shown_by_json_log(text: str) -> str:
    """Return a line of the JSON log."""
    return JsonFormatter().format(logging.LogRecord("n", logging.ERROR, "p", 1, "%s", (text,), None))


def shown_by_up(text: str) -> str:
    """Return a line of ``infra/up``."""
    out = io.StringIO()
    Plain(out, many=False).show(Line(1.0, "data", text, "failed", text))
    return out.getvalue()


@pytest.mark.parametrize(
    "show", [shown_by_console, shown_by_log, shown_by_json_log, shown_by_up, shown_by_watch]
)
@pytest.mark.parametrize("char", UNSAFE.values(), ids=UNSAFE)
def test_no_unsafe_character_is_shown(show: Any, char: str) -> None:
    """No output shows an unsafe character."""
    assert char not in show(f"before{char}after")


def test_an_error_is_one_safe_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An error on standard error is one line without unsafe characters."""
    fail(f"failed: {ALL}\nsecond line")
    shown = capsys.readouterr().err
    assert not set(ALL) & set(shown)
    assert 1 == shown.count("\n")


def test_a_finding_of_doctor_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """A printed finding has no unsafe character, since it quotes broker, API and database."""
    print_findings([Finding("broker", ALL, "bad", ALL, ALL)])
    assert not set(ALL) & set(capsys.readouterr().out)


def test_a_dead_letter_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    """A shown dead letter has no unsafe character, since its producer wrote headers and body."""
    view.out().print(view.plain(ALL))
    view.out().print(view.pretty({"key": ALL}))
    assert not set(ALL) & set(capsys.readouterr().out)
