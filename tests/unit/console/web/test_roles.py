"""Who signs in with the token for reading reads everything, and changes nothing."""

import re
from collections.abc import Iterator

import pytest
from starlette.routing import Route

from handler.console.web.app import create_app, routes
from handler.console.web.site import make_site
from handler.settings import Settings
from tests.console_browser import READ_TOKEN, TOKEN, Browser, browsing
from tests.unit.console.web.test_reading import record, waits

AS_READER = {"Authorization": f"Bearer {READ_TOKEN}"}
PAGES = ("/", "/snapshots?id=snap-1", "/waiting", "/waiting?reason=lookup", "/control", "/report", "/audit")


@pytest.fixture
def reader(stranger: Browser, settings: Settings) -> Browser:
    """A browser that has signed in with the token for reading; a message waits."""
    record(settings, lambda ledger: waits(ledger, "snap-1"))
    assert 303 == stranger.sign_in(READ_TOKEN).status_code
    return stranger


@pytest.fixture
def operator(stranger: Browser, settings: Settings) -> Browser:
    """A browser that has signed in with the other token."""
    record(settings, lambda ledger: waits(ledger, "snap-1"))
    assert 303 == stranger.sign_in(TOKEN).status_code
    return stranger


def changing(settings: Settings) -> Iterator[str]:
    """Yield the paths that change something; signing in and out is none."""
    for route in routes(make_site(settings)):
        assert isinstance(route, Route)
        if "POST" in (route.methods or ()) and not route.path.startswith("/sign-"):
            yield re.sub("{[a-z_]+}", "3f6c0d9a41b2", route.path)


def test_a_reader_is_refused_every_change(reader: Browser, settings: Settings) -> None:
    """Each form and each route of the API answers 403, and nothing is done."""
    token = reader.csrf_token("/")
    answers = [
        reader.post(path, csrf_token=token, snapshot="snap-1", all="true") for path in changing(settings)
    ]
    assert {403} == {answer.status_code for answer in answers}
    assert all("may only read" in answer.text for answer in answers)
    assert 18 == len(answers)
    assert [] == reader.json("/api/audit")["acts"]


def test_a_program_that_reads_is_answered_and_changes_nothing(stranger: Browser, settings: Settings) -> None:
    """The API answers its questions, and refuses each change."""
    record(settings, lambda ledger: waits(ledger, "snap-1"))
    assert 1 == stranger.get("/api/waiting", headers=AS_READER).json()["total"]
    refused = [stranger.ask("POST", path, json={}, headers=AS_READER) for path in changing(settings)]
    assert {403} == {answer.status_code for answer in refused}


def test_a_reader_reads_every_page_and_sees_no_button_that_acts(reader: Browser) -> None:
    """No form posts anything but the sign-out, and the page says that it only reads."""
    for path in PAGES:
        page = reader.get(path)
        assert 200 == page.status_code, path
        assert ["/sign-out"] == re.findall(r'method="post" action="([^"]+)"', page.text), path
        assert "reads only" in page.text
    assert "you may only read" in reader.get("/waiting/cancel?snapshot=snap-1").text


def test_an_operator_acts_as_before(operator: Browser) -> None:
    """The other token still acts: its pages have their buttons, and a pause is set."""
    assert "/waiting/retry-now" in operator.get("/snapshots?id=snap-1").text
    token = operator.csrf_token("/control")
    assert 303 == operator.post("/control/pause", csrf_token=token, reason="upgrade").status_code
    assert "upgrade" == operator.json("/api/control")["paused"]["reason"]


def test_a_reader_becomes_an_operator_by_signing_in_again(reader: Browser) -> None:
    """The sign-in is open to a reader, and the new session may act."""
    assert 303 == reader.sign_in(TOKEN).status_code
    assert "reads only" not in reader.get("/").text
    assert "upgrade" == reader.json("/api/control/pause", {"reason": "upgrade"})["paused"]["reason"]


def test_a_reader_signs_out(reader: Browser) -> None:
    """After the sign-out no page opens."""
    assert 303 == reader.post("/sign-out", csrf_token=reader.csrf_token("/")).status_code
    assert 303 == reader.get("/waiting").status_code


def test_without_tokens_everybody_acts(settings: Settings) -> None:
    """On the loopback interface without tokens the page has its buttons."""
    record(settings, lambda ledger: waits(ledger, "snap-1"))
    with browsing(create_app(make_site(settings))) as browser:
        assert "/control/pause" in browser.get("/control").text
