"""Times on the pages: each is an element that programs can read, and says how long ago it is."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from handler.backup.ports import Doubt
from handler.console.web.rendering import age, date, moment, moments
from handler.ledger.ledger import StoredLedger
from handler.settings import Settings
from tests.console_browser import Browser, Elements
from tests.unit.console.web.test_reading import claimed, completed, record, waits

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def test_a_time_says_when_and_how_long_ago() -> None:
    """The element has the exact time; a time of another zone is shown in UTC."""
    at = datetime.now(UTC) - timedelta(minutes=5)
    text = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    exact = at.isoformat(timespec="seconds")

    assert f'<time datetime="{exact}" title="{exact}">{text}</time>' == date(at.isoformat())
    assert f'{date(at.timestamp())} <span class="age">(5 min ago)</span>' == moment(at.timestamp())
    assert f'<time datetime="{exact}" title="{exact}">5 min ago</time>' == age(at.isoformat())
    assert "2026-11-23 22:00:00 UTC" in date("2026-11-24T03:00:00+05:00")


@pytest.mark.parametrize("show", [moment, date, age])
def test_no_time_is_a_dash(show: object) -> None:
    """What has not happened has no time."""
    assert callable(show)
    assert "-" == show(None)


def test_times_within_a_sentence_are_elements() -> None:
    """What stands around them stays a text, also markup and times that are none."""
    shown = moments("<b> due 2026-11-23T22:00:00+00:00; no 2026-99-99T99:00:00Z or 9999-12-31T23:59:59-09:00")
    assert shown.startswith("&lt;b&gt; due <time datetime=")
    assert "2026-11-23 22:00:00 UTC</time>" in shown
    assert shown.endswith("; no 2026-99-99T99:00:00Z or 9999-12-31T23:59:59-09:00")


def test_no_page_shows_a_time_for_programs(browser: Browser, settings: Settings) -> None:
    """Timeline, waits, report and audit journal show times as a person reads them."""

    async def work(ledger: StoredLedger) -> None:
        now = time.time()
        await ledger.doubt(await claimed(ledger, "snap-1"), Doubt(now, lookups=1, lookup_after=now + 60))
        await waits(ledger, "snap-1")
        await completed(ledger, "snap-2")

    record(settings, work)
    browser.json("/api/control/pause", {"reason": "disk full"})
    browser.ask("POST", "/api/dead-letters/drop", json={"since": "2026-11-23T22:00:00.123456+00:00"})
    for path in ("/snapshots?id=snap-1", "/waiting", "/report?by=hour", "/audit", "/control", "/"):
        page = browser.get(path).text
        assert "<time datetime=" in page, path
        assert not ISO.search(Elements(page).text), path


def test_the_overview_says_why_dead_letters_are_not_known(browser: Browser, settings: Settings) -> None:
    """While the broker refuses connections, the section says so instead of staying empty."""
    record(settings, lambda ledger: ledger.check())
    assert "Not known while the broker does not answer" in browser.get("/").text


def test_what_an_operator_has_paused_can_be_chosen(browser: Browser, settings: Settings) -> None:
    """The list of waiting messages offers every reason, and says what it means."""
    record(settings, lambda ledger: waits(ledger, "snap-1", reason="paused"))
    page = browser.get("/waiting?reason=paused").text
    assert '<option value="paused" selected>paused: an operator has paused' in page
    assert "an operator has paused the queue or the project" in browser.get("/").text
