"""The pages Snapshot and Waiting, and their API: what they show, and that hostile texts stay texts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Doubt, Finished, Granted, Key, Waiting
from handler.console.web.app import create_app
from handler.console.web.site import make_site
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger
from handler.settings import Settings
from tests.console_browser import HOSTILE, Browser, Elements, browsing, injected


def record(settings: Settings, work: Callable[[StoredLedger], Awaitable[Any]]) -> None:
    """Run work on the console's ledger, as a worker would."""

    async def opened() -> None:
        ledger = open_ledger(settings.ledger_url.get_secret_value(), lease_seconds=20)
        await work(ledger)
        await ledger.aclose()

    asyncio.run(opened())


async def claimed(ledger: StoredLedger, snapshot_id: str, project_id: str = "p") -> Granted:
    """Claim a snapshot."""
    claim = await ledger.claim(Key(project_id, snapshot_id), "event-1")
    assert isinstance(claim, Granted)
    return claim


async def waits(
    ledger: StoredLedger, snapshot_id: str, project_id: str = "p", reason: str = "lookup"
) -> None:
    """Record a message that waits."""
    await ledger.record_waiting(
        Waiting(
            id=f"w-{snapshot_id}",
            body=b"{}",
            seconds=30.0,
            reason=reason,
            waits=3,
            project_id=project_id,
            snapshot_id=snapshot_id,
        )
    )


async def completed(ledger: StoredLedger, snapshot_id: str, name: str = "nightly") -> None:
    """Record a completed backup."""
    await ledger.created(await claimed(ledger, snapshot_id), AcceptedBackup(id="b1", name=name))
    end = Finished(CompletedBackup(id="b1", name=name, status="available", size=40), seconds=61.0)
    await ledger.finished(Key("p", snapshot_id), end, backup_id="b1", cause="event-1")


def test_a_snapshot_that_is_backed_up_is_shown_with_its_backup(browser: Browser, settings: Settings) -> None:
    """The page says that it is backed up, by which backup, and the API has the same."""
    record(settings, lambda ledger: completed(ledger, "snap-1"))
    text = " ".join(Elements(browser.get("/snapshots?id=snap-1").text).text.split())
    [found] = browser.get("/api/snapshots/snap-1").json()["snapshots"]

    assert "backed up" in text
    assert "not backed up" not in text
    assert "b1, nightly, available, 61 s after it was accepted" in text
    assert (True, "completed", "b1") == (found["backed_up"], found["state"], found["backup"]["id"])


def test_a_snapshot_whose_backup_is_in_progress_is_shown(browser: Browser, settings: Settings) -> None:
    """An accepted backup has no status yet: the page names it, and says that it is not backed up."""

    async def work(ledger: StoredLedger) -> None:
        await ledger.created(await claimed(ledger, "snap-1"), AcceptedBackup(id="b1", name="nightly"))

    record(settings, work)
    text = " ".join(Elements(browser.get("/snapshots?id=snap-1").text).text.split())
    assert "not backed up accepted" in text
    assert "b1, nightly" in text


def test_a_snapshot_in_doubt_is_shown_with_its_next_lookup(browser: Browser, settings: Settings) -> None:
    """The page says that a request may have worked, and that its message waits, and why."""

    async def work(ledger: StoredLedger) -> None:
        await ledger.doubt(await claimed(ledger, "snap-1"), Doubt(1.0, lookups=2, lookup_after=2.0))
        await waits(ledger, "snap-1")

    record(settings, work)
    text = " ".join(Elements(browser.get("/snapshots?id=snap-1").text).text.split())

    assert "not backed up in doubt" in text
    assert "2 lookups found nothing" in text
    assert "lookup a request may have worked, and is looked up" in text


def test_a_snapshot_in_two_projects_is_shown_twice_or_in_the_one_asked_for(
    browser: Browser, settings: Settings
) -> None:
    """Each project that has named the snapshot is shown, unless one is asked for."""

    async def work(ledger: StoredLedger) -> None:
        for project_id in ("p1", "p2"):
            await claimed(ledger, "snap-1", project_id)

    record(settings, work)

    assert 2 == len(browser.get("/api/snapshots/snap-1").json()["snapshots"])
    [one] = browser.get("/api/snapshots/snap-1?project=p2").json()["snapshots"]
    assert "p2" == one["project_id"]
    assert "p1" not in Elements(browser.get("/snapshots?id=snap-1&project=p2").text).text


def test_an_unknown_snapshot_is_said_to_be_unknown(browser: Browser, settings: Settings) -> None:
    """A snapshot of which the ledger has nothing is neither backed up nor not."""
    record(settings, lambda ledger: ledger.check())
    [found] = browser.get("/api/snapshots/nothing").json()["snapshots"]

    assert (None, "unknown") == (found["backed_up"], found["state"])
    assert "The ledger has no entry" in browser.get("/snapshots?id=nothing").text


def test_waiting_messages_are_listed_by_reason_and_project(browser: Browser, settings: Settings) -> None:
    """The list has what waits, and a filter leaves out the rest."""
    record(settings, lambda ledger: waits(ledger, "snap-1"))
    [message] = browser.get("/api/waiting?reason=lookup&project=p").json()["messages"]

    assert ("snap-1", "lookup", 3) == (message["snapshot_id"], message["reason"], message["waits"])
    assert "snap-1" in browser.get("/waiting").text
    assert "No message waits for this." in browser.get("/waiting?reason=track").text
    assert 0 == browser.get("/api/waiting?project=other").json()["total"]


def test_a_reason_that_a_newer_worker_wrote_is_shown(browser: Browser, settings: Settings) -> None:
    """A reason that this release does not know breaks no page."""
    record(settings, lambda ledger: waits(ledger, "snap-1", reason="another"))
    pages = [browser.get(path) for path in ("/snapshots?id=snap-1", "/waiting", "/")]

    assert [200, 200, 200] == [page.status_code for page in pages]
    assert all("another" in page.text for page in pages[:2])


@pytest.mark.parametrize(
    "path", ["/api/waiting?reason=none", "/api/waiting?limit=0", "/api/waiting?reasom=x"]
)
def test_a_wrong_parameter_of_the_api_is_named(browser: Browser, path: str) -> None:
    """A parameter that is unknown or out of bounds is answered with 422 and its name."""
    answer = browser.get(path)

    assert 422 == answer.status_code
    assert path.partition("?")[2].partition("=")[0] == answer.json()["error"].partition(":")[0]


@pytest.mark.parametrize("url", ["none", "sqlite:////nonexistent/ledger.db"])
def test_without_a_ledger_page_and_api_say_what_is_not_known(url: str) -> None:
    """Without a ledger the page says so, with the setting to change; no file is made."""
    values: dict[str, Any] = {"ledger_url": url}
    none = Settings(_env_file=None, **values)
    with browsing(create_app(make_site(none))) as browser:
        pages = [browser.get(path).text for path in ("/waiting", "/snapshots?id=x")]
        answer = browser.get("/api/waiting")

    assert all("LEDGER_URL" in page for page in pages)
    assert (503, "LEDGER_URL") == (answer.status_code, answer.json()["error"].partition(":")[0])


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_text(browser: Browser, settings: Settings, name: str) -> None:
    """Ids, names and errors from outside make no element and no attribute, and steer no reader."""

    text = name.replace("\x00", "")
    id_ = text.replace("\x1b", "")  # no id has control characters

    async def work(ledger: StoredLedger) -> None:
        await completed(ledger, id_, name=text)
        failure = Failure(category=Category.REFUSED, code=text, message=text)
        await ledger.refused(await claimed(ledger, id_, id_), text, failure, attempts=1)
        await waits(ledger, id_, id_)

    record(settings, work)
    pages = [
        browser.get("/snapshots", params={"id": id_}),
        browser.get("/snapshots", params={"id": name, "project": name}),
        browser.get("/waiting"),
        browser.get("/waiting", params={"project": name, "reason": name}),
        browser.get("/" + quote(name)),
    ]
    for page in pages:
        assert not injected(page.text)
    shown = Elements(pages[0].text).text
    safe = dict.fromkeys(map(ord, "\u202e\u2066\x1b"), "\ufffd")
    assert 3 <= shown.count(text.translate(safe))
    assert 3 <= shown.count(id_.translate(safe))


def test_a_snapshot_is_found_by_the_id_of_its_backup(browser: Browser, settings: Settings) -> None:
    """The page shows the snapshot of a backup, says where else to look, and so does the API."""

    async def backed_up(ledger: StoredLedger) -> None:
        await ledger.created(await claimed(ledger, "s-1"), AcceptedBackup(id="backup-1"))

    record(settings, backed_up)
    page, nothing = browser.get("/snapshots?id=backup-1").text, browser.get("/snapshots?id=backup-2").text
    found = browser.json("/api/search?text=backup-1")

    assert "1 snapshot found by this id" in page
    assert "s-1" in page
    assert "No snapshot has this id" in nothing
    assert "/dead-letters?volumes=backup-2" in nothing
    assert [{"project_id": "p", "snapshot_id": "s-1"}] == found["snapshots"]
    assert browser.get("/api/search", params={"text": "backup-1", "at": found["next"]}).is_success
    assert 422 == browser.get("/api/search?text=backup-1&at=x").status_code
    assert 422 == browser.get("/api/search?text=abc").status_code
