"""A bad night: 40,000 dead letters of five causes and 5,000 waiting messages, cleared by the page alone.

``BAD_NIGHT=400`` makes a night of 400 dead letters, for whoever changes a page.
"""

import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from infra.emulator.testing import Emulator, running_emulator
from tests.integration.console.browsers import headless, page_of
from tests.integration.console.running import (
    RunningConsole,
    beside,
    prepared,
    resident_megabytes,
    running_console,
)
from tests.integration.dead_letters.place import Place, Raw, dead_headers, event, snapshot_id
from tests.patience import patient

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.timeout(3600)]

DEAD = int(os.environ.get("BAD_NIGHT", "40000"))
WAITING = DEAD // 8
BUSY = {"route": "create", "effect": "status", "status": 409}
RATE = 2000
"""Dead letters a second that the stranger asks for."""
LIMIT = 300.0
PATIENCE = 900.0


class Cause(NamedTuple):
    """A cause of dead letters: category and code, its share of 40, and the first word of what to do."""

    category: str
    code: str | None
    share: int
    replayed: bool


CAUSES = (
    Cause("quota", "VolumeBackup.0061", 14, replayed=True),
    Cause("denied", "403", 8, replayed=True),
    Cause("expired", None, 6, replayed=True),
    Cause("not_found", "404", 7, replayed=False),
    Cause("malformed", None, 5, replayed=False),
)
TURNS = [cause for cause in CAUSES for _ in range(cause.share)]
"""The causes of 40 dead letters that follow one another, from which the whole night repeats."""


def dead_letters() -> list[Raw]:
    """Return the dead letters of the night, with the causes mixed."""
    found: list[Raw] = []
    for number in range(DEAD):
        cause = TURNS[number * 7 % len(TURNS)]
        headers = dead_headers(number, cause.category, cause.code or "")
        if cause.code is None:
            del headers["dl-code"]
        found.append((event(number, volume_id=str(uuid.UUID(int=number + 1))), headers))
    return found


def waiting(console: RunningConsole) -> int:
    """Return how many messages wait."""
    return int(console.client.get("/api/waiting?limit=1").json()["total"])


def make_wait(place: Place, emulator: Emulator, console: RunningConsole) -> None:
    """Publish events about volumes that are busy, until each waits for an hour."""
    emulator.set_faults([BUSY])
    with place.channel() as channel:
        channel.confirm_delivery()
        for number in range(DEAD, DEAD + WAITING):
            body = event(number, volume_id=str(uuid.UUID(int=number + 1)))
            channel.basic_publish(place.topology.snapshot_exchange, "snapshot.completed", body)
    place.until(lambda: waiting(console) == WAITING, seconds=PATIENCE)
    emulator.clear_faults()


class Night(NamedTuple):
    """What runs, and the page that the stranger has in front of them."""

    place: Place
    emulator: Emulator
    console: RunningConsole
    page: Page


@pytest.fixture
def delays() -> tuple[int, ...]:
    """What is retried waits for an hour, unless an operator brings it back."""
    return (3600,)


@pytest.fixture
def night(place: Place) -> Iterator[Night]:
    """Run emulator, worker, console and browser, after everything has gone wrong."""
    with ExitStack() as stack:
        emulator = stack.enter_context(running_emulator(process=True, settle=0.0))
        place.settings.update(
            VBS_ENDPOINT=emulator.url,
            VBS_AUTH="none",
            RESULT_UNROUTABLE="ignore",
            TRACK_BACKUPS="false",
            LOG_LEVEL="WARNING",
        )
        beside(lambda: prepared(place))
        beside(lambda: place.dead_letter(dead_letters()))
        stack.enter_context(place.worker())
        console = stack.enter_context(running_console(place))
        make_wait(place, emulator, console)
        browser = stack.enter_context(headless())
        page = stack.enter_context(page_of(browser, console.url))
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        yield Night(place, emulator, console, page)


class Watch:
    """Tells for each step how long the stranger has waited for it."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def step(self, name: str) -> None:
        """Print a step that has ended."""
        now = time.monotonic()
        print(f"{now - self.began:7.1f} s  {now - self.last:6.1f} s  {name}", flush=True)
        self.last = now


def test_a_stranger_with_only_the_page_clears_a_bad_night(night: Night) -> None:
    """By what the page says of each group they replay three, and drop two with an export."""
    page, watch = night.page, Watch()
    page.goto("/")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_text("consuming", exact=True)).to_be_visible()
    watch.step("the overview is read")
    page.get_by_role("link", name="retry", exact=True).click()
    page.get_by_role("button", name="Bring these back now").click()
    expect(page.get_by_text(re.compile("brought back"))).to_be_visible()
    watch.step(f"{WAITING:,} waiting messages are brought back")

    page.get_by_role("link", name="Dead letters", exact=True).click()
    rows = page.get_by_role("region", name="Groups of dead letters").locator("tbody tr")
    expect(rows).to_have_count(len(CAUSES))
    watch.step(f"{DEAD:,} dead letters are listed by cause")
    while rows.count():
        row = rows.first
        name, advice = row.get_by_role("rowheader").inner_text(), row.locator(".reason").inner_text()
        act = "Replay" if "replay" in advice else "Drop"
        row.get_by_role("button", name=f"{act} the group").click()
        finish(page, act)
        watch.step(f"{name}: {act.lower()}, since the page says: {advice}")
        page.get_by_role("link", name="To the dead letters").click()
        expect(page.get_by_role("heading", name="Dead letters", exact=True)).to_be_visible()
        expect(rows.or_(page.get_by_text("No dead letter.")).first).to_be_visible()
        watch.step("the list is shown again")
    page.get_by_role("link", name="Snapshot", exact=True).click()
    page.get_by_label("Id of a snapshot").fill(snapshot_id(DEAD))
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("backed up", exact=True)).to_be_visible()
    seconds = time.monotonic() - watch.began

    megabytes = resident_megabytes(night.console.process.pid)
    replayed = sum(1 for number in range(DEAD) if TURNS[number * 7 % len(TURNS)].replayed)
    print(f"a bad night of {DEAD:,} took {seconds:.0f} s; the console holds {megabytes:.0f} MB")
    night.place.until(lambda: waiting(night.console) == 0, seconds=PATIENCE)
    assert replayed + WAITING == night.emulator.count_backups()
    assert DEAD - replayed == sum(len(each.read_bytes().splitlines()) for each in exports(night.place))
    assert 0 == night.place.count(night.place.topology.dead)
    assert seconds < patient(LIMIT) / 2, f"{seconds:.0f} s"
    assert megabytes < 150


def finish(page: Page, act: str) -> None:
    """Do what the dry run shows, and watch until it has ended."""
    expect(page.get_by_role("heading", name=f"{act}: dry run")).to_be_visible()
    if act == "Replay":
        page.get_by_label("At most so many a second").fill(str(RATE))
    page.get_by_role("button", name=re.compile(r"^(Replay|Export and drop) [\d,]+$")).click()
    expect(page.get_by_role("status").get_by_text("ended", exact=True)).to_be_visible()
    expect(page.get_by_role("status").get_by_text("done")).to_be_visible()


def exports(place: Place) -> list[Path]:
    """Return the files to which dead letters were exported."""
    return sorted(place.folder.glob("dead-letters-*.jsonl"))
