"""The page Report and its API: sums by group, as a table and as CSV; and the overview's sums."""

import pytest

from events.outcome import Category, Failure
from handler.ledger.ledger import StoredLedger
from handler.settings import Settings
from tests.console_browser import HOSTILE, Browser, Elements, injected
from tests.unit.console.web.test_reading import claimed, completed, record


async def failed(ledger: StoredLedger, project_id: str) -> None:
    """Record a failure of a snapshot of a project."""
    failure = Failure(category=Category.QUOTA, code="VolumeBackup.0061", message="no room")
    await ledger.refused(await claimed(ledger, "snap-2", project_id), "event-2", failure, attempts=1)


def test_the_report_counts_each_snapshot_by_project(browser: Browser, settings: Settings) -> None:
    """Page, API and CSV have a row for each project, and the page the sum of all."""

    async def work(ledger: StoredLedger) -> None:
        await completed(ledger, "snap-1")
        await failed(ledger, "q")

    record(settings, work)
    rows = {row["group"]: row for row in browser.json("/api/report?since=1h")["rows"]}
    text = " ".join(Elements(browser.get("/report?since=1h").text).text.split())
    csv = browser.get("/report.csv?since=1h&by=category")

    assert (1, 1) == (rows["p"]["backed_up"], rows["q"]["failed"])
    assert "total" in text
    assert "attachment" in csv.headers["content-disposition"]
    assert "quota,0,0,0,0,1,0" in csv.text.splitlines()


@pytest.mark.parametrize(
    "query", ["since=yesterday", "by=owner", "since=1h&until=2h", "since=2999-01-01", "sinec=1h"]
)
def test_a_wrong_parameter_is_named(browser: Browser, settings: Settings, query: str) -> None:
    """A parameter that is wrong or unknown is answered with 422, and on the page with its name."""
    record(settings, lambda ledger: ledger.check())
    statuses = [browser.get(f"/{path}?{query}").status_code for path in ("api/report", "report.csv")]

    assert [422, 422] == statuses


@pytest.mark.parametrize("name", [*HOSTILE, "=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1"])
def test_a_hostile_project_is_a_text_in_page_and_csv(browser: Browser, settings: Settings, name: str) -> None:
    """A project's name makes no element in the page, and no formula in a spreadsheet."""
    record(settings, lambda ledger: failed(ledger, name.replace("\x00", "")))
    csv = browser.get("/report.csv?since=1h").text.splitlines()[1]

    assert not injected(browser.get("/report?since=1h").text)
    assert not csv.startswith(("=", "+", "-", "@"))


def test_a_snapshots_story_is_told_on_its_page(browser: Browser, settings: Settings) -> None:
    """The page tells what has happened, in its order."""
    record(settings, lambda ledger: completed(ledger, "snap-1"))
    text = Elements(browser.get("/snapshots?id=snap-1").text).text

    assert (
        -1 < text.index("What has happened") < text.index("b1 was accepted") < text.index("b1 is available")
    )


def test_the_overview_counts_states_and_outcomes(browser: Browser, settings: Settings) -> None:
    """The overview has what has no end yet, and the outcomes of the last day."""

    async def work(ledger: StoredLedger) -> None:
        await completed(ledger, "snap-1")
        await claimed(ledger, "snap-2")

    record(settings, work)
    found = browser.json("/api/overview")["ledger"]

    assert 1 == found["states"]["claimed"]["count"]
    assert 1 == found["outcomes"]["completed"]
    assert "Outcomes of the last 24 hours" in browser.get("/").text
