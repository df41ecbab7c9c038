"""Tests of ``report``: what an operator reads of a night, and what a spreadsheet does with it."""

import asyncio
import csv
import io
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Finished, Granted, Key, Waiting
from handler.cli import app
from handler.console.report import ReportRow, cell, table, to_csv
from handler.ledger.inquiry import Sum
from handler.ledger.stores import open_ledger

BACKUP = AcceptedBackup(id="b1", name="nightly")
DONE = Finished(CompletedBackup(id="b1", status="available"), seconds=3.0)
NO = Failure(category=Category.QUOTA, status=413, code="X", message="quota")
HOUR = 3600.0


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a ledger with a night in it, set in the environment.

    Project p has a snapshot that is backed up, one in progress, and one that was backed up two days ago. One
    of project q failed, and one waits without ever having been claimed.
    """
    found = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("LEDGER_URL", found)
    asyncio.run(night(found))
    return found


async def night(url: str) -> None:
    """Write that night."""
    for project, snapshot, ago in (
        ("p", "done", 0),
        ("p", "progress", 0),
        ("p", "old", 48),
        ("q", "failed", 0),
    ):
        ledger = open_ledger(url, lease_seconds=20, clock=lambda ago=ago: time.time() - ago * HOUR)  # type: ignore[misc]
        key = Key(project, snapshot)
        claim = await ledger.claim(key, "event")
        assert isinstance(claim, Granted)
        if snapshot == "failed":
            await ledger.refused(claim, "event", NO, attempts=1)
        else:
            await ledger.created(claim, BACKUP)
        if snapshot in ("done", "old"):
            await ledger.finished(key, DONE, backup_id="b1", cause="event")
        if snapshot == "done":
            await ledger.record_waiting(Waiting("m", b"body", 30.0, "pause", 1, "q", "waits"))
        await ledger.aclose()


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["report", *arguments])


def rows(*arguments: str) -> list[dict[str, object]]:
    """Return what the command prints for programs."""
    return [json.loads(line) for line in run("--format", "json", *arguments).output.splitlines()]


def test_a_night_is_summed_by_project(url: str) -> None:
    """Each snapshot that has changed since yesterday is counted once, by where it stands."""
    assert rows() == [
        {**ReportRow("p", backed_up=1, in_progress=1)._asdict(), "by": "project"},
        {**ReportRow("q", waiting=1, failed=1)._asdict(), "by": "project"},
    ]


def test_the_option_json_is_the_format_json(url: str) -> None:
    """``--json`` prints what ``--format json`` prints, also with both."""
    both = {
        run(*options).output for options in (["--json"], ["--format", "json"], ["--json", "--format=json"])
    }
    assert 1 == len(both)
    assert 2 == len(both.pop().splitlines())


def test_a_night_is_summed_by_category(url: str) -> None:
    """What failed stands under its category, all else under none."""
    assert {(row["group"], row["failed"]) for row in rows("--by", "category")} == {("", 0), ("quota", 1)}


def test_a_longer_time_is_summed_by_hour(url: str) -> None:
    """Hours are UTC and in order; the snapshot of two days ago has the first one."""
    found = rows("--since", "3d", "--by", "hour")
    hours = [str(row["group"]) for row in found]
    assert sorted(hours) == hours
    assert hours[0].endswith(":00:00+00:00")
    assert (1, 5) == (
        found[0]["backed_up"],
        sum(int(str(row[name])) for row in found for name in ReportRow._fields[1:]),
    )


def test_a_report_is_bounded_and_filtered(url: str) -> None:
    """Only what changed before --until, and only of one project."""
    assert [1] == [row["backed_up"] for row in rows("--since", "3d", "--until", "1d")]
    assert ["q"] == [row["group"] for row in rows("--project", "q")]
    assert "no snapshot has changed in this time" in run("--since", "1d", "--project", "r").output


def test_the_table_has_a_total(url: str) -> None:
    """A person reads a line for each group and the sum of all."""
    lines = [line.split() for line in run().output.splitlines()]
    assert [
        "project",
        "backed",
        "up",
        "in",
        "progress",
        "in",
        "doubt",
        "waiting",
        "failed",
        "skipped",
    ] == lines[0]
    assert ["total", "1", "1", "0", "1", "1", "0"] == lines[-1]


def test_an_accepted_backup_counts_if_none_is_tracked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TRACK_BACKUPS=false its event has ended."""
    monkeypatch.setenv("TRACK_BACKUPS", "false")
    assert [2, 0] == [row["backed_up"] for row in rows()]


@pytest.mark.parametrize(
    "arguments",
    [("--by", "weather"), ("--format", "xml"), ("--since", "yesterday"), ("--since", "1h", "--until", "2h")],
)
def test_wrong_arguments_are_refused(url: str, arguments: tuple[str, ...]) -> None:
    """The line names what is wrong, and the exit code is 2."""
    done = run(*arguments)
    assert 2 == done.exit_code
    assert arguments[-1] in done.output


@pytest.mark.parametrize(
    "text",
    [
        "=HYPERLINK(1)",
        "+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\N{NO-BREAK SPACE}=1",
        '"=1',
        "'=1",
        "|calc",
        "%00=1",
        "\N{FULLWIDTH EQUALS SIGN}1",
        "\x1b=1",
        "\u202e=1",
        "\ufeff=1",
    ],
)
def test_no_cell_is_a_formula(text: str) -> None:
    """A project whose name begins like a formula stays a text in every spreadsheet, and in one cell."""
    sums = [Sum(text, "completed", 1), Sum("a,b", "failed", 2)]
    found = list(csv.reader(io.StringIO(to_csv(table(sums), "project"))))
    assert ["project", *ReportRow._fields[1:]] == found[0]
    by_first = {row[0] for row in found[1:]}
    assert len(found) == 3
    assert "a,b" in by_first
    [written] = by_first - {"a,b"}
    assert written[0] in "'\N{REPLACEMENT CHARACTER}"


def test_a_plain_cell_is_left_as_it_is() -> None:
    """Ids and hours are not changed."""
    for text in ("8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5", "2026-11-26T22:00:00+00:00", ""):
        assert text == cell(text)


def test_the_csv_is_printed(url: str) -> None:
    """The command prints the head and a line for each group."""
    found = list(csv.reader(io.StringIO(run("--format", "csv").output)))
    assert [["p", "1", "1", "0", "0", "0", "0"], ["q", "0", "0", "0", "1", "1", "0"]] == found[1:]
