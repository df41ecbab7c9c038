"""The console in a real browser: what a person does at night, and what a stranger cannot do."""

import asyncio
import os
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from handler.backup.workers import WorkerReport
from handler.ledger.stores import open_ledger
from infra.emulator.testing import running_emulator
from infra.local.ready import wait_until
from tests.console_browser import HOSTILE, SECONDS, TOKEN
from tests.integration.console.browsers import barriers, headless, page_of
from tests.integration.console.running import RunningConsole, beside, filled, prepared, running_console
from tests.integration.console.test_control import publish
from tests.integration.console.test_dead_letters import KINDS, fill
from tests.integration.dead_letters.place import PROJECT, Place, dead_headers, event, snapshot_id

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]
PATIENCE = SECONDS * 1000
"""Milliseconds: a busy machine starts browsers slowly."""

SHOTS = os.environ.get("CONSOLE_SHOTS")
"""A folder for pictures of the pages, for whoever changes how they look."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this module."""
    expect.set_options(timeout=PATIENCE)
    with headless() as found:
        yield found


def shoot(page: Page, name: str) -> None:
    """Take a picture, if a folder for them is given."""
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def test_a_night_is_mended_in_the_browser(place: Place, browser: Browser) -> None:
    """An operator replays a group after its dry run, finds a snapshot, drops another, and undoes that."""
    beside(lambda: fill(place))
    with running_emulator(settle=0.0) as emulator:
        place.settings.update(VBS_ENDPOINT=emulator.url, VBS_AUTH="none", RESULT_UNROUTABLE="ignore")
        with place.worker(), running_console(place) as console, page_of(browser, console.url) as page:
            page.set_default_timeout(PATIENCE)
            page.goto("/dead-letters")
            page.get_by_role("button", name="Replay the group quota").click()
            expect(page.get_by_role("heading", name="Replay: dry run")).to_be_visible()
            expect(page.get_by_text("3 dead letters go back to the queue")).to_be_visible()
            page.get_by_label("Stop when more than").fill("50")
            page.get_by_role("button", name="Replay 3").click()
            expect(page.get_by_text("3 of 3 sent back")).to_be_visible()
            expect(page.get_by_text("ended", exact=True).first).to_be_visible()  # the page refreshes itself

            place.until(lambda: emulator.count_backups() == 3)
            page.get_by_role("link", name="Snapshot", exact=True).click()
            page.get_by_label("Id of a snapshot").fill(snapshot_id(0))
            place.until(lambda: _backed_up(page))

            page.get_by_role("link", name="Dead letters").click()
            page.get_by_role("checkbox").first.check()
            page.get_by_role("button", name="Drop the chosen…").click()
            page.get_by_role("button", name="Export and drop 1").click()
            with page.expect_download() as download:
                page.get_by_role("link", name=re.compile(r"dead-letters-.*\.jsonl")).click()
            assert 1 == len(Path(download.value.path()).read_text().splitlines())
            assert 2 == beside(lambda: place.count(place.topology.dead))
            page.get_by_role("button", name="Undo: put them back").click()
            expect(page.get_by_role("heading", name="Undo of a drop")).to_be_visible()
            expect(page.get_by_text("1 of 1 put back")).to_be_visible()
            expect(page.get_by_role("status")).to_contain_text("done")
            page.get_by_role("link", name="the drop").click()
            expect(page.get_by_text("Undone by")).to_be_visible()
            expect(page.get_by_role("button", name="Undo: put them back")).to_have_count(0)
    assert 3 == place.count(place.topology.dead)


def _backed_up(page: Page) -> bool:
    page.get_by_role("button", name="Search").click()
    return page.get_by_text("backed up", exact=True).is_visible()


def test_a_stranger_stays_outside(place: Place, browser: Browser) -> None:
    """A wrong token opens nothing, the right one leads to the page that was asked for, and out again."""
    with (
        running_console(place, CONSOLE_TOKEN=TOKEN) as console,
        page_of(browser, console.url) as page,
    ):
        page.set_default_timeout(PATIENCE)
        page.goto("/waiting")
        page.get_by_label("Token").fill("a wrong token")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This is not the token.")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            shoot(page, f"sign-in-{scheme}")
            assert [] == barriers(page)
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Waiting messages")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.goto("/waiting")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_page_of_another_site_can_drop_nothing(place: Place, browser: Browser) -> None:
    """A form that another origin posts is refused, and the dead letters stay."""
    beside(lambda: fill(place))
    with running_console(place) as console, browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        forged = f"""<form method="post" action="{console.url}/dead-letters/drop">
            <input name="all" value="true"><button>win a prize</button></form>"""
        page.goto(f"{console.url}/")  # now the browser has a session
        page.route("http://evil.example/", lambda route: route.fulfill(body=forged, content_type="text/html"))
        page.goto("http://evil.example/")
        page.get_by_role("button").click()
        expect(page.get_by_text("a page of another site sent this; nothing was done")).to_be_visible()
    assert 6 == place.count(place.topology.dead)


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without"])
def test_hostile_texts_run_nothing_and_reading_needs_no_javascript(
    place: Place, browser: Browser, javascript: bool
) -> None:
    """Pages with hostile names show them, run no script, ask no other host, and need none of their own."""
    hostile = [name.replace("\x00", "") for name in HOSTILE]
    names = ("category", "code", "message", "event-id", "project-id", "volume-id", "snapshot-id")
    letters = [(text.encode(), {f"dl-{name}": text for name in names}) for text in hostile]
    beside(lambda: place.dead_letter(letters))
    with running_console(place) as console, page_of(browser, console.url, javascript=javascript) as page:
        page.set_default_timeout(PATIENCE)
        page.goto("/dead-letters")
        expect(page.get_by_text(hostile[0]).first).to_be_visible()
        page.locator("table a.id").first.click()
        expect(page.get_by_role("heading", name="Dead letter")).to_be_visible()
        page.goto("/snapshots?id=" + "%3Cscript%3Ealert(1)%3C/script%3E")
        expect(page.get_by_label("Id of a snapshot")).to_have_value(hostile[0])


def test_a_live_worker_is_paused_and_resumed_by_the_page(place: Place, browser: Browser) -> None:
    """A running worker begins no backup in a pause; after the resume each event has its backup."""
    sent = 0

    def one_more_is_held() -> bool:
        nonlocal sent
        publish(place, sent)
        sent += 1
        page.goto("/waiting?reason=paused")
        return page.get_by_role("region", name="Waiting messages").is_visible()

    with running_emulator(settle=0.0) as emulator:
        place.settings.update(VBS_ENDPOINT=emulator.url, VBS_AUTH="none", RESULT_UNROUTABLE="ignore")
        beside(lambda: prepared(place))
        with place.worker(), running_console(place) as console, page_of(browser, console.url) as page:
            page.set_default_timeout(PATIENCE)
            place.until(lambda: console.client.get("/api/overview").json()["queues"]["consumers"] > 0)
            page.goto("/control")
            page.get_by_label("Reason").fill("storage is upgraded")
            page.get_by_role("button", name="Pause").click()
            expect(page.get_by_text("storage is upgraded")).to_be_visible()
            place.until(one_more_is_held)
            assert emulator.count_backups() < sent
            page.goto("/control")
            page.get_by_role("button", name="Resume").click()
            expect(page.get_by_text("storage is upgraded")).to_have_count(0)
            place.until(lambda: emulator.count_backups() == sent)
            page.get_by_role("link", name="Audit").click()
            expect(page.get_by_role("row", name="resume")).to_be_visible()


def test_every_page_fits_its_window_and_has_no_barrier(place: Place, browser: Browser) -> None:
    """No page is wider than the window, on a phone and on a desk, and axe-core finds nothing on any."""
    others = [(event(90), dead_headers(90, "backup_error", "-")), (event(91), dead_headers(91, "expired"))]
    beside(lambda: fill(place, count=12))
    beside(lambda: place.dead_letter(others))
    beside(lambda: filled(place))
    beside(lambda: reported(place))
    too_wide, found = set(), {}
    with running_console(place) as console:
        pages = _pages(console)
        for width, dark in ((320, True), (320, False), (1280, True), (1280, False)):
            with page_of(browser, console.url, dark=dark, width=width) as page:
                page.set_default_timeout(PATIENCE)
                for name, path in pages.items():
                    page.goto(path)
                    shoot(page, f"{name}-{'dark' if dark else 'light'}-{width}")
                    if page.evaluate("document.documentElement.scrollWidth") > width:
                        too_wide.add((name, width))
                    if width > 1000:
                        found[name, dark] = barriers(page)
    assert set() == too_wide
    assert {} == {key: each for key, each in found.items() if each}


def _running(console: RunningConsole, job: str) -> bool:
    return bool(console.client.get(f"/api/jobs/{job}").json()["state"] == "running")


def reported(place: Place) -> None:
    """Have a worker with a long name report itself, and one that was killed an hour ago."""

    async def report() -> None:
        for name, age in (("backup-worker-7d9f8c6b5-x2x4q.backups.svc.cluster.local", 0.0), ("b", 3600.0)):
            ledger = open_ledger(
                place.settings_of_program["LEDGER_URL"], lease_seconds=20, clock=partial(_ago, age)
            )
            found = WorkerReport(name, name, 4711, "1.0", 60.0, "consuming", 3, 32)
            await ledger.control(place.topology.queue, found)
            await ledger.aclose()

    asyncio.run(report())


def _ago(seconds: float) -> float:
    return time.time() - seconds


def _pages(console: RunningConsole) -> dict[str, str]:
    for order in ({"reason": "storage is upgraded"}, {"project": PROJECT, "reason": "quota"}):
        console.client.post("/api/control/pause", json=order)
    [first, *_] = console.client.get("/api/dead-letters").json()["dead_letters"]
    job = console.client.post("/api/dead-letters/drop", json={"categories": ["expired"]}).json()
    assert wait_until(lambda: not _running(console, job["id"]), seconds=SECONDS)
    undo = console.client.post(f"/api/jobs/{job['id']}/undo", json={}).json()
    return {
        "overview": "/",
        "search": "/snapshots?id=backup-1",
        "unknown": "/snapshots?id=nothing",
        "accepted": f"/snapshots?id={snapshot_id(0)}",
        "failed": f"/snapshots?id={snapshot_id(2)}",
        "in doubt": f"/snapshots?id={snapshot_id(3)}",
        "waiting": "/waiting",
        "control": "/control",
        "cancel": f"/waiting/cancel?snapshot={snapshot_id(0)}",
        "report": "/report",
        "letters": "/dead-letters",
        "letter": f"/dead-letters/{first['id']}",
        "replay": f"/dead-letters/preview?act=replay&categories={KINDS[0][0]}",
        "drop": "/dead-letters/preview?act=drop",
        "job": f"/jobs/{job['id']}",
        "undo": f"/jobs/{undo['id']}",
        "audit": "/audit",
        "nothing": "/nothing",
    }
