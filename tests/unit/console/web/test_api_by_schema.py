"""The HTTP API under requests that its own document describes, and ones that it forbids, by schemathesis."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from handler.console.web.app import create_app
from handler.console.web.openapi import document
from handler.console.web.site import make_site
from handler.settings import Settings
from tests.console_browser import TOKEN, Browser, browsing
from tests.unit.console.web.test_reading import record

EXAMPLES = 6
"""Requests for each route, so that all of them take seconds."""

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
"""A 503 is as documented: the broker of these consoles refuses connections."""
REFUSED = (413,)
"""Refusals that schemathesis does not count as such."""

API = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A program that has the token, at a console with a ledger and without a broker."""
    values: dict[str, Any] = {
        "amqp_url": "amqp://127.0.0.1:1/",
        "ledger_url": f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db",
        "console_token": TOKEN,
    }
    found = Settings(_env_file=None, **values)
    record(found, lambda ledger: ledger.check())
    site = make_site(found)
    site.jobs.folder = Path(values["ledger_url"].removeprefix("sqlite:///")).parent
    with browsing(create_app(site), "http://console.example.com") as browser:
        yield browser


def stripped(url: str) -> bool:
    """Return whether a parameter has whitespace around it, which the console strips before it validates."""
    return any(value != value.strip() for _, value in parse_qsl(urlsplit(url).query))


@API.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: schemathesis.Case[Any], console: Browser) -> None:
    """No request makes the console fail, and status, content type and form of each answer are declared."""
    sent = case.as_transport_kwargs(base_url="http://console.example.com")
    headers = {**sent.pop("headers"), "Authorization": f"Bearer {TOKEN}"}
    method, url = sent.pop("method"), sent.pop("url")
    cookies = sent.pop("cookies", None)
    assert not cookies
    if isinstance(sent.get("data"), bytes | str):
        sent["content"] = sent.pop("data")
    try:
        answer = console.ask(method, url, headers=headers, **sent)
    except httpx.InvalidURL:  # longer than this client sends
        return

    valid = answer.status_code in REFUSED or stripped(str(answer.url))
    case.validate_response(answer, checks=CHECKS if valid else [*CHECKS, checks.negative_data_rejection])
    assert answer.status_code not in (500, 502), "an error within the program"
