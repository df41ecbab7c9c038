"""What an operator asks for is checked by pages, API and commands: no wrong id reaches a ledger."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.console.asked import plain, project, snapshot
from handler.settings import Settings
from tests.console_browser import Browser
from tests.unit.console.test_status import record
from tests.unit.console.web.conftest import browser, settings

__all__ = ["browser", "settings"]

UUID = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
WRONG = {
    "NUL": "abcd\x00",
    "newline": "ab\ncd",
    "escape": "ab\x1bcd",
    "C1": "ab\x9bcd",
    "noncharacter": "ab\uffffcd",
    "too long": "x" * 257,
}
SURROGATE = "abcd\udcff"
"""What Python makes of a byte of a command line that is no UTF-8."""
QUERIES = {
    "/snapshots?id={}": "id",
    f"/snapshots?id={UUID}&project={{}}": "project",
    "/waiting?project={}": "project",
    "/report?project={}": "project",
    "/api/snapshots/{}": "snapshot_id",
    f"/api/snapshots/{UUID}?project={{}}": "project",
    "/api/search?text={}": "text",
    "/api/waiting?project={}": "project",
    "/api/report?project={}": "project",
    "/report.csv?project={}": "project",
}
ORDERS = {
    ("/api/control/pause", "project"),
    ("/api/control/resume", "project"),
    ("/api/waiting/retry-now", "snapshot"),
    ("/api/waiting/retry-now", "project"),
    ("/api/waiting/cancel", "snapshot"),
}
COMMANDS = {
    "status {}": "SNAPSHOT_ID",
    "status s --project {}": "--project",
    "waiting list --project {}": "--project",
    "waiting retry-now {}": "SNAPSHOT_ID",
    "waiting retry-now --all --project {}": "--project",
    "waiting cancel --yes {}": "SNAPSHOT_ID",
    "report --project {}": "--project",
    "pause --project {}": "--project",
    "resume --project {}": "--project",
}


@pytest.fixture(autouse=True)
def ledger(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ledger, for the console and for commands."""
    url = settings.ledger_url.get_secret_value()
    monkeypatch.setenv("LEDGER_URL", url)
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/")
    record(url, lambda ledger: ledger.check())


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("path", QUERIES)
def test_a_wrong_id_in_a_query_is_refused_by_name(browser: Browser, path: str, wrong: str) -> None:
    """Pages and API answer 422 with the parameter's name, before the ledger is asked."""
    answer = browser.get(path.format(quote(WRONG[wrong], safe="")))
    assert 422 == answer.status_code
    assert f"{QUERIES[path]}: " in answer.text


@pytest.mark.parametrize("wrong", [*WRONG.values(), "abcd\ud800"], ids=[*WRONG, "surrogate"])
@pytest.mark.parametrize(("path", "field"), sorted(ORDERS))
def test_a_wrong_id_in_an_order_is_refused_by_name(
    browser: Browser, path: str, field: str, wrong: str
) -> None:
    """The API answers 422 with the field's name, also for a surrogate that JSON spells out."""
    body = json.dumps({field: wrong}).encode()
    answer = browser.ask("POST", path, content=body, headers={"Content-Type": "application/json"})
    assert 422 == answer.status_code
    assert answer.json()["error"].startswith(f"{field}: ")


def test_a_wrong_id_in_a_form_is_refused(browser: Browser) -> None:
    """A form with a NUL is answered with 422, and nothing is paused."""
    token = browser.csrf_token("/control")
    answer = browser.post("/control/pause", csrf_token=token, project="ab\x00cd")
    assert 422 == answer.status_code
    assert "project: must be 1 to 256 characters without control characters" in answer.text
    assert {"paused": None, "projects": {}, "concurrency": None} == browser.json("/api/control")


@pytest.mark.parametrize("wrong", [SURROGATE, "ab\x1bcd"], ids=["surrogate", "escape"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_id_in_a_command_is_wrong_usage(command: str, wrong: str) -> None:
    """Commands exit 2 and name the argument or option, instead of a ledger that fails."""
    done: Any = CliRunner().invoke(app, [part.format(wrong) for part in command.split()])
    assert 2 == done.exit_code, done.output
    assert f"Invalid value for '{COMMANDS[command]}" in done.output.replace("'[", "'")


@pytest.mark.parametrize("given", [UUID.upper(), UUID.replace("-", "")])
def test_each_spelling_of_a_snapshot_finds_it(browser: Browser, given: str) -> None:
    """Upper case and a UUID without dashes are the snapshot that events name in lower case with dashes."""
    assert UUID == snapshot(given) == browser.json(f"/api/snapshots/{given}")["snapshots"][0]["snapshot_id"]
    done: Any = CliRunner().invoke(app, ["status", given])
    assert f"{UUID}: unknown" in done.output


def test_what_can_be_an_id_stays_as_it_is() -> None:
    """Ids of other clouds, and texts in any script, are asked for as they are given."""
    for text in ("p", "snap-1", "größe 4/2", "снимок", "x" * 256):
        assert text == plain(text) == snapshot(text) == project(text)
    assert "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5" == project("8D2C4B6A-1F3E-4D5C-9B7A-60F1E2D3C4B5")


@pytest.mark.parametrize("reason", ["disk\x00full", "disk\x1bfull", "disk\udcfffull"])
def test_a_reason_is_stored_without_what_no_ledger_stores(reason: str) -> None:
    """A pause is not refused for its reason: NUL, controls and surrogates in it are replaced."""
    done: Any = CliRunner().invoke(app, ["pause", "--json", "--reason", f" {reason},\n since 3 h"])
    assert "disk\N{REPLACEMENT CHARACTER}full, since 3 h" == json.loads(done.output)["paused"]["reason"]
