"""The pages and the API of what operators set for all workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from handler.console.waiting import Retried
from handler.console.web import control
from handler.settings import Settings
from tests.console_browser import HOSTILE, Browser, injected
from tests.unit.console.web.test_reading import record


@pytest.fixture
def console(browser: Browser, settings: Settings) -> Browser:
    """A browser at a console whose ledger exists."""
    record(settings, lambda ledger: ledger.check())
    return browser


def test_a_pause_is_shown_until_it_is_resumed(console: Browser) -> None:
    """Forms pause the queue with a reason and resume it; overview and API show what holds."""
    token = console.csrf_token("/control")
    assert 303 == console.post("/control/pause", reason="upgrade", csrf_token=token).status_code
    paused = console.json("/api/control")["paused"], console.get("/").text
    assert 303 == console.post("/control/resume", csrf_token=token).status_code

    assert "upgrade" == paused[0]["reason"]
    assert "upgrade" in paused[1]
    assert console.json("/api/control")["paused"] is None


def test_a_project_is_paused_by_itself(console: Browser) -> None:
    """The pause of a project leaves the queue open, and is resumed by its name."""
    found = console.json("/api/control/pause", {"project": "p", "reason": "theirs"})
    assert (None, ["p"]) == (found["paused"], list(found["projects"]))
    assert {} == console.json("/api/control/resume", {"project": "p"})["projects"]


def test_concurrency_is_set_and_unset(console: Browser) -> None:
    """A number holds for each worker; without one each has its own again."""
    assert 8 == console.json("/api/control/concurrency", {"number": 8})["concurrency"]
    assert console.json("/api/control/concurrency", {})["concurrency"] is None


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("control/pause", {"reason": "x" * 201}, "reason"),
        ("control/pause", {"projcet": "p"}, "projcet"),
        ("control/concurrency", {"number": 0}, "number"),
        ("control/concurrency", {"number": 2001}, "number"),
        ("waiting/retry-now", {}, "all"),
        ("waiting/retry-now", {"reason": "whatever"}, "reason"),
        ("waiting/cancel", {}, "snapshot"),
    ],
)
def test_a_wrong_order_is_refused_by_the_name_of_its_field(
    console: Browser, path: str, body: dict[str, object], name: str
) -> None:
    """Nothing is done, and the error begins with what is wrong."""
    answer = console.ask("POST", f"/api/{path}", json=body)
    assert (422, True) == (answer.status_code, answer.json()["error"].startswith(name)), answer.text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_reason_stays_a_text(console: Browser, text: str) -> None:
    """A reason or a project that looks like markup adds nothing to a page."""
    project = text.translate(dict.fromkeys(map(ord, "\x00\x1b")))
    console.json("/api/control/pause", {"reason": text})
    console.json("/api/control/pause", {"project": project, "reason": text})
    assert not injected(console.get("/control").text)
    assert not injected(console.get("/").text)
    assert not injected(console.get("/waiting/cancel", params={"snapshot": text, "project": text}).text)


@pytest.mark.parametrize(("seconds", "shown"), [(60.0, "7 brought back"), (0.0, "goes on when you leave")])
def test_a_retry_that_takes_long_goes_on_behind_its_page(
    console: Browser, monkeypatch: pytest.MonkeyPatch, seconds: float, shown: str
) -> None:
    """Thousands of messages keep nobody before an empty page."""
    ended: list[Retried] = []

    @asynccontextmanager
    async def opened_waits(*_: object) -> AsyncIterator[None]:
        yield

    async def retry_now(*_: object) -> Retried:
        await asyncio.sleep(0.05)  # longer than no time at all
        ended.append(Retried(7))
        return ended[0]

    monkeypatch.setattr(control, "opened_waits", opened_waits)
    monkeypatch.setattr(control, "retry_now", retry_now)
    monkeypatch.setattr(control, "_ANSWER_SECONDS", seconds)
    token = console.csrf_token("/control")
    page = console.post("/waiting/retry-now", reason="retry", csrf_token=token)
    assert shown in page.text
    while not ended:
        console.pause()
