"""Tests of the log: fixed actions, the ids of the message in hand, and a bounded number of lines."""

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import handler
from events.errors import EventIds
from events.message import Message, State
from events.outcome import Category, Failure
from handler.backup.hooks import BreakerChange
from handler.backup.result import Kind, Result
from handler.telemetry import logs
from handler.telemetry.actions import ACTIONS
from handler.telemetry.counters import Counters
from handler.telemetry.logs import ABOUT, JsonFormatter, TextFormatter
from handler.telemetry.outcome_log import LINES_A_SECOND, OutcomeLog
from tests.twins.clock import Clock

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
IDS = EventIds("event-1", "/tests", "snapshot.completed", "project-1", "volume-1", "snapshot-1")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _handled(kind: Kind = "accepted") -> Result:
    dead_letter = Failure(category=Category.QUOTA, message="full") if kind == "failed" else None
    return Result(kind, Message(b""), State(first_seen=1.0), IDS, "data", dead_letter=dead_letter)


def _log_calls() -> Iterator[tuple[str, ast.Call, ast.Module]]:
    for path in sorted(Path(handler.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "_log")
                and node.func.attr in LEVELS
            ):
                yield f"{path.name}:{node.lineno}", node, tree


def _dicts(call: ast.Call, tree: ast.Module) -> Iterator[ast.Dict]:
    """Yield the ``extra`` of a call: a literal, or the literals of that name in its module."""
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            yield keyword.value
        elif keyword.arg == "extra" and isinstance(keyword.value, ast.Name):
            yield from _assigned(keyword.value.id, tree)


def _assigned(name: str, tree: ast.Module) -> Iterator[ast.Dict]:
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.Dict):
                yield value


def _actions(call: ast.Call, tree: ast.Module) -> set[str]:
    """Return the actions that a call may log."""
    found: set[str] = set()
    for extra in _dicts(call, tree):
        for key, value in zip(extra.keys, extra.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "action":
                if isinstance(value, ast.Constant):
                    found.add(str(value.value))
                elif isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name):
                    found |= _table(value.value.id, tree)
    return found


def _table(name: str, tree: ast.Module) -> set[str]:
    values = [value for table in _assigned(name, tree) for value in table.values]
    return {str(value.value) for value in values if isinstance(value, ast.Constant)}


def test_every_line_has_an_action_of_the_table() -> None:
    """Every call of a logger has an action, and every action is explained in the table."""
    wrong = {
        where: actions
        for where, call, tree in _log_calls()
        if not (actions := _actions(call, tree)) or actions - set(ACTIONS)
    }
    assert {} == wrong


def test_every_action_of_the_table_is_written_somewhere() -> None:
    """The table has no action that is never logged."""
    written = {action for _, call, tree in _log_calls() for action in _actions(call, tree)}
    assert set() == set(ACTIONS) - written


@pytest.fixture
def record() -> logging.LogRecord:
    """Return a log record of one warning."""
    record = logging.LogRecord("name", logging.WARNING, "file", 1, "what %s", ("happened",), None)
    record.action = "publish.refused"
    return record


@pytest.fixture
def in_hand() -> Iterator[None]:
    """Set the ids of a message in hand."""
    token = ABOUT.set((IDS, TRACE))
    yield
    ABOUT.reset(token)


@pytest.mark.usefixtures("in_hand")
def test_a_json_line_names_the_message_in_hand(record: logging.LogRecord) -> None:
    """Each line has the event, project, volume, snapshot and trace, whichever module logs it."""
    line = json.loads(JsonFormatter().format(record))
    assert {
        "level": "WARNING",
        "message": "what happened",
        "action": "publish.refused",
        "event_id": "event-1",
        "project_id": "project-1",
        "volume_id": "volume-1",
        "snapshot_id": "snapshot-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    } == {key: value for key, value in line.items() if key != "time"}


@pytest.mark.usefixtures("in_hand")
def test_a_text_line_is_a_sentence_with_ids(record: logging.LogRecord) -> None:
    """A text line has time, level unless it is INFO, sentence, event and snapshot."""
    line = TextFormatter().format(record)
    assert "warning: what happened  event_id=event-1 snapshot_id=snapshot-1" == line[9:]


@pytest.mark.parametrize(
    ("form", "shown"), [("json", '"worker": 2'), ("text", "worker=2")], ids=["json", "text"]
)
def test_each_line_of_a_supervised_worker_has_its_number(
    form: Literal["json", "text"], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workers of a supervisor write to one log; a worker without one has no number."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logs.set_up("INFO", form, worker=2)
        logging.getLogger("x").info("something", extra={"action": "summary"})
        logs.set_up("INFO", form)
        logging.getLogger("x").info("something", extra={"action": "summary"})
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    first, second = capsys.readouterr().err.splitlines()
    assert (True, False) == (shown in first, "worker" in second)


def test_a_text_line_cannot_be_broken_from_outside(record: logging.LogRecord) -> None:
    """A text line contains no line feed and no escape sequence of an event's text."""
    record.args = ("\n2026 forged\x1b[2J\u2028",)
    assert not {"\n", "\x1b", "\u2028"} & set(TextFormatter().format(record))


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test sets."""
    return Clock()


@pytest.fixture
def outcome_log(clock: Clock, caplog: pytest.LogCaptureFixture) -> OutcomeLog:
    """Return an outcome log at level INFO."""
    caplog.set_level(logging.INFO, "handler.telemetry.outcome_log")
    return OutcomeLog(Counters(), clock)


def _written(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(record.__dict__["action"]) for record in caplog.records]


def test_below_the_limit_each_outcome_is_a_line(
    outcome_log: OutcomeLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Below the limit each outcome has a line; a delayed or ignored message has none."""
    for kind in ("accepted", "waiting", "ignored", "completed"):
        outcome_log.handled(_handled(kind))
    assert ["message.accepted", "message.completed"] == _written(caplog)


def test_above_the_limit_lines_are_left_out(
    outcome_log: OutcomeLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has at most ``LINES_A_SECOND`` lines of successes a second."""
    for _ in range(5 * LINES_A_SECOND):
        outcome_log.handled(_handled())
    busy = len(caplog.records)
    clock.advance(1.0)
    outcome_log.handled(_handled())
    assert (LINES_A_SECOND, LINES_A_SECOND + 1) == (busy, len(caplog.records))


def test_a_failure_is_not_hidden_by_successes(
    outcome_log: OutcomeLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures have their own limit, and are logged as warnings."""
    for kind in ("accepted",) * 3 * LINES_A_SECOND + ("failed",):
        outcome_log.handled(_handled(kind))  # type: ignore[arg-type] # the literals of a product of tuples
    last = caplog.records[-1]
    assert ("WARNING", "failed, dead-lettered: quota: full") == (last.levelname, last.message)


def test_outcomes_that_come_back_are_a_warning(
    outcome_log: OutcomeLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Outcomes and probes in the worker's own queue show a wrong binding: one line says so, however many."""
    for type_ in ("snapshot.deleted", "backup.probe", "backup.completed"):
        outcome_log.handled(_handled("ignored")._replace(ids=EventIds(type=type_)))
    assert ["outcome.returned"] == _written(caplog)


def test_at_debug_every_message_is_a_line(outcome_log: OutcomeLog, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG each message has a line, also a delayed one, without a limit."""
    caplog.set_level(logging.DEBUG, "handler.telemetry.outcome_log")
    for _ in range(3 * LINES_A_SECOND):
        outcome_log.handled(_handled("waiting"))
        outcome_log.handled(_handled())
    assert 6 * LINES_A_SECOND == len(caplog.records)


def test_the_summary_counts_since_the_last_one(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The summary counts events, outcomes by type and category, their rate, and the lines left out."""
    caplog.set_level(logging.INFO, "handler.telemetry.outcome_log")
    counters = Counters()
    outcome_log = OutcomeLog(counters, clock)
    for kind in ("accepted",) * 28 + ("failed", "failed"):
        counters.handled(_handled(kind), now=2.0)
        outcome_log.handled(_handled(kind))
    clock.advance(60.0)
    outcome_log.summarise(in_hand=3, breaker="closed")
    last = vars(caplog.records[-1])
    assert "30 events in, 28 accepted, 2 failed quota (0.5/s), 3 in hand" == last["message"]
    assert 18 == last["lines_left_out"]


def test_an_idle_worker_logs_no_summary(outcome_log: OutcomeLog, caplog: pytest.LogCaptureFixture) -> None:
    """A summary whose counts are all zero is left out."""
    outcome_log.summarise(in_hand=0, breaker="closed")
    assert [] == caplog.records


def test_an_open_circuit_breaker_is_logged_with_its_reason(
    outcome_log: OutcomeLog, caplog: pytest.LogCaptureFixture
) -> None:
    """The line of an open circuit breaker says for how long consuming stops, and why."""
    outcome_log.breaker_changed(BreakerChange("open", "denied", "401 no", 120.0))
    last = caplog.records[-1]
    assert ("breaker.open", "denied", "consuming stops for 120 s: 401 no") == (
        last.__dict__["action"],
        last.__dict__["why"],
        last.message,
    )
