"""The workers on the page Overview, and in its API."""

import sqlite3
from contextlib import closing

from handler.backup.workers import WorkerReport
from handler.console.web.app import create_app
from handler.console.web.site import make_site
from handler.ledger.ledger import StoredLedger
from handler.settings import Settings
from tests.console_browser import HOSTILE, Browser, Elements, browsing, injected
from tests.unit.console.web.test_reading import record


def report(name: str = "w", host: str = "backup-1", state: str = "consuming") -> WorkerReport:
    """Return a worker's report."""
    return WorkerReport(name, host, 4711, "1.0", 7200.0, state, 3, 32)


def reported(settings: Settings, *reports: WorkerReport) -> None:
    """Write reports, as workers do."""

    async def work(ledger: StoredLedger) -> None:
        for each in reports:
            await ledger.control(settings.snapshot_queue, each)

    record(settings, work)


def test_each_worker_is_shown_with_its_latest_report(browser: Browser, settings: Settings) -> None:
    """Page and API say who it is, what it does, what it has in hand, and when it reported."""
    reported(settings, report(), report("v", "backup-2", "paused"))
    text = " ".join(Elements(browser.get("/").text).text.split())
    found = browser.json("/api/overview")["ledger"]["workers"]

    assert "backup-1:4711 consuming 3 of 32" in text
    assert "backup-2:4711 paused" in text
    assert ["consuming", "paused"] == [each["state"] for each in found]
    assert all(0 <= each["seconds_ago"] < 3600 and each["started_at"] for each in found)


def test_a_worker_that_was_killed_is_shown_as_without_report(browser: Browser, settings: Settings) -> None:
    """Its latest state is told as what it was."""
    reported(settings, report())
    path = settings.ledger_url.get_secret_value().removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE ledger_worker SET seen_at = seen_at - 300")
    text = " ".join(Elements(browser.get("/").text).text.split())

    assert [True] == [each["silent"] for each in browser.json("/api/overview")["ledger"]["workers"]]
    assert "no report" in text
    assert "was consuming" in text


def test_a_hostile_host_name_stays_a_text(browser: Browser, settings: Settings) -> None:
    """Whatever another program wrote into the ledger opens no tag and hides no text."""
    reported(settings, *(report(f"w{number}", host) for number, host in enumerate(HOSTILE)))
    page = browser.get("/").text
    assert [] == injected(page)


def test_without_a_ledger_it_is_said_that_workers_are_not_known(settings: Settings) -> None:
    """The page names the setting."""
    none = Settings(_env_file=None, **(settings.model_dump() | {"ledger_url": "none"}))
    with browsing(create_app(make_site(none))) as browser:
        text = " ".join(Elements(browser.get("/").text).text.split())
    assert "LEDGER_URL: is none, so nothing is known" in text
    assert "of workers" in text
