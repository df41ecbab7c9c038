"""Where the console listens: on the loopback interface, or elsewhere with a token."""

from typing import Any

import pytest

from handler.console.web.server import check_address, listen
from handler.errors import SettingsError
from handler.settings import Settings
from tests.console_browser import READ_TOKEN, TOKEN


def _settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8090", ":8090", "[::]:8090", "10.0.0.1:1", "console.example.com:80"]
)
def test_an_address_beyond_loopback_needs_a_token(address: str) -> None:
    """Without a token the start is refused, and the error names the setting and what to do."""
    with pytest.raises(SettingsError, match=r"CONSOLE_TOKEN: not set.*openssl rand -hex 32"):
        check_address(_settings(console_address=address))

    assert check_address(_settings(console_address=address, console_token=TOKEN))


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ({"console_read_token": READ_TOKEN}, "CONSOLE_READ_TOKEN: set without CONSOLE_TOKEN"),
        (
            {"console_token": TOKEN, "console_read_token": TOKEN},
            "CONSOLE_READ_TOKEN: is the same as CONSOLE_TOKEN",
        ),
    ],
)
def test_a_token_for_reading_is_another_one(tokens: dict[str, str], problem: str) -> None:
    """Alone no caller could act, and with the same token all could: the start is refused."""
    with pytest.raises(SettingsError, match=problem):
        check_address(_settings(**tokens))


@pytest.mark.parametrize("address", ["127.0.0.1:8090", "localhost:0", "[::1]:8090", "127.8.9.10:80"])
def test_an_address_of_the_loopback_interface_needs_none(address: str) -> None:
    """On the loopback interface the console starts without a token."""
    host, port = check_address(_settings(console_address=address))

    assert address.replace("[", "").replace("]", "") == f"{host}:{port}"


def test_an_address_that_is_in_use_is_named() -> None:
    """If the port is taken, the error names the setting and another address."""
    with listen(_settings(console_address="127.0.0.1:0")) as listener:
        taken = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"CONSOLE_ADDRESS: cannot listen on {taken}.*such as"):
            listen(_settings(console_address=taken))
