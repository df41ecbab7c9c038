"""A console without a broker, and browsers that ask it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.console.web.app import create_app
from handler.console.web.site import make_site
from handler.settings import Settings
from tests.console_browser import READ_TOKEN, TOKEN, Browser, browsing


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose broker refuses connections, and whose ledger does not exist yet."""
    values: dict[str, Any] = {
        "amqp_url": "amqp://127.0.0.1:1/",
        "ledger_url": f"sqlite:///{tmp_path}/ledger.db",
    }
    return Settings(_env_file=None, **values)


@pytest.fixture
def browser(settings: Settings) -> Iterator[Browser]:
    """A browser at a console on the loopback interface, where nobody signs in."""
    with browsing(create_app(make_site(settings))) as found:
        yield found


@pytest.fixture
def stranger(settings: Settings) -> Iterator[Browser]:
    """A browser that has not signed in, at a console with both tokens."""
    with_token = Settings(
        _env_file=None, **(settings.model_dump() | {"console_token": TOKEN, "console_read_token": READ_TOKEN})
    )
    with browsing(create_app(make_site(with_token)), "http://console.example.com") as found:
        yield found
