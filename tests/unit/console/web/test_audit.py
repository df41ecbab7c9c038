"""The page and the API of the audit journal."""

import pytest

from handler.console.web.app import create_app
from handler.console.web.site import make_site
from handler.settings import Settings
from tests.console_browser import HOSTILE, TOKEN, Browser, browsing, injected
from tests.unit.console.web.test_reading import record


@pytest.fixture
def console(browser: Browser, settings: Settings) -> Browser:
    """A browser at a console whose ledger exists."""
    record(settings, lambda ledger: ledger.check())
    return browser


def test_every_act_has_who_what_when_and_its_outcome(console: Browser) -> None:
    """Acts by forms and by the API are listed, the latest first, with what they are about."""
    token = console.csrf_token("/control")
    console.post("/control/pause", reason="upgrade", project="p", csrf_token=token)
    console.json("/api/control/concurrency", {"number": 8})
    found = console.json("/api/audit")
    page = console.get("/audit").text

    assert found["problem"] is None
    assert [("concurrency", "number 8", "done"), ("pause", "project p; reason upgrade", "done")] == [
        (act["what"], act["about"], act["outcome"]) for act in found["acts"]
    ]
    assert all(act["who"].startswith("session ") and act["ended"] >= act["at"] for act in found["acts"])
    assert "project p; reason upgrade" in page
    assert 1 == len(console.json("/api/audit?limit=1")["acts"])


def test_an_act_that_fails_has_its_reason(console: Browser) -> None:
    """What could not be done is listed with what was wrong: here the broker refuses the connection."""
    assert console.ask("POST", "/api/waiting/retry-now", json={"all": True}).is_error
    job = console.job("/api/dead-letters/drop", {"all": True})
    drop, retry = console.json("/api/audit")["acts"]

    assert ("retry now", "all", None) == (retry["what"], retry["about"], retry["number"])
    assert "127.0.0.1:1" in retry["outcome"]
    assert (job["id"], "drop", 0, job["end"]) == (drop["id"], drop["what"], drop["number"], drop["outcome"])


def test_the_journal_outlives_the_console(console: Browser, settings: Settings) -> None:
    """Another console of the same queue shows the acts; one of another queue does not."""
    console.json("/api/control/pause", {"reason": "upgrade"})
    values = settings.model_dump()
    acts = []
    for more in ({}, {"snapshot_queue": "other"}):
        with browsing(create_app(make_site(Settings(_env_file=None, **{**values, **more})))) as later:
            acts.append([act["what"] for act in later.json("/api/audit")["acts"]])

    assert [["pause"], []] == acts


@pytest.mark.parametrize("url", ["none", "sqlite:////nonexistent/ledger.db"])
def test_without_a_ledger_the_console_keeps_the_acts_and_says_so(settings: Settings, url: str) -> None:
    """The acts of this process are listed, with the reason why no other console has them."""
    without = Settings(_env_file=None, **{**settings.model_dump(), "ledger_url": url})
    with browsing(create_app(make_site(without))) as console:
        console.job("/api/dead-letters/drop", {"all": True})
        found, page = console.json("/api/audit"), console.get("/audit").text

    assert (["drop"], True) == ([act["what"] for act in found["acts"]], "LEDGER_URL" in found["problem"])
    assert "known to this console only" in page


def test_a_stranger_reads_no_journal(stranger: Browser) -> None:
    """Without a sign-in neither page nor API show it; a program with the token is named by its address."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert [303, 401] == [stranger.get(path).status_code for path in ("/audit", "/api/audit")]
    stranger.ask("POST", "/api/control/pause", json={}, headers=headers)
    [act] = stranger.get("/api/audit", headers=headers).json()["acts"]
    assert "a program at 127.0.0.1" == act["who"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_act_stays_a_text(console: Browser, text: str) -> None:
    """What an act is about adds nothing to the page."""
    console.ask("POST", "/api/control/pause", json={"reason": text})
    console.ask("POST", "/api/dead-letters/drop", json={"snapshots": [text]})
    assert 2 == len(console.json("/api/audit")["acts"])
    assert not injected(console.get("/audit").text)
