"""Wrong values of settings: each ends the program with one line that names the setting, and exit code 2."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.errors import SettingsError
from handler.redaction import MASK
from handler.settings import load_settings

LONG = "a" * 64
AMQP = [
    "https://[", "amqp://[", "amqp://", "host:5672", "http://host/", "amqp://host:99999/", "amqp://host:0/",
    "amqp://host:x/", "amqp://ho st/", "amqp://[::1/", "amqp://.../", f"amqp://{LONG}/", "amqp://host/#vhost",
    "amqp://user:p#w@host/", "amqp://user:p/w@host/", "amqp://user:p?w@host/", "amqp://host/,http://host/",
    "amqp://ho\tst/", "amqp://host/?unknown=1", "amqp://host/?heartbeat=x", "amqp://host/?heartbeat=-1",
    "amqp://host/?heartbeat=", "amqp://host/?heartbeat=99999999", "amqp://host/?ssl_options=x",
    "amqp://host/?socket_timeout=-1", "amqp://host/?socket_timeout=nan", "amqp://host/?channel_max=0",
    "amqp://host/?frame_max=1", "amqp://host/?blocked_connection_timeout=x", "amqp://host/?retry_delay=-5",
    "amqp://host/?connection_attempts=x", "amqp://host/?tcp_options=x", "amqp://host/?locale=%00",
    "amqp://host/?client_properties=x", ",",
]  # fmt: skip
ENDPOINTS = [
    "https://[", "host", "ftp://host", "http://host:99999", "http://host:0", "http://host:x", "http://",
    "http://user:password@host", "http://host/path", "http://host?x=1", "http://host#x", "https://ho st",
    "http://exa\tmple", "http://[::1", "http://..", f"http://{LONG}",
]  # fmt: skip
SIGN_INS = [
    "https://[", "host", "ftp://host", "http://host:99999", "https://host:x", "https://", "https://host:0",
    "https://host/v3?x=1", "https://user:password@host/v3", "https://ho st/v3",
]  # fmt: skip
LEDGERS = [
    "mysql://host/db", "sqlite", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x", "sqlite:///x?mode=ro",
    "sqlite:////tmp", "nonesense", "none/", "postgres", "postgresql:x", "postgresql://[", "postgresql://h:x/db",
    "postgresql://h:99999/db", "postgresql://h:0/db", "postgresql://u:p#w@h/db", "postgresql://u:p/w@h:x/db",
    "postgresql://u:p@w@h/db", "postgresql://ho st/db", "postgresql://h1:5432,h2:x/db",
]  # fmt: skip
LISTENS = [
    "x",
    ":99999",
    "host:",
    "[::1",
    "[::1]",
    "1.2.3.4:x",
    "http://host:1",
    "...:80",
    "ho st:80",
    "::1:80",
]
FILES = ["AMQP_CA_FILE", "VBS_CA_FILE", "RULES_FILE", "AMQP_CERT_FILE"]

WRONG = [
    *(("AMQP_URL", value) for value in AMQP),
    *(("VBS_ENDPOINT", value) for value in ENDPOINTS),
    *(("OS_AUTH_URL", value) for value in SIGN_INS),
    *(("LEDGER_URL", value) for value in LEDGERS),
    *(("HTTP_ADDRESS", value) for value in LISTENS),
    *((name, "/tmp") for name in FILES),
    ("SECRETS_DIR", "/nonexistent"),
    ("SECRETS_DIR", "/dev/null"),
]

PROXIES = [
    "ftp://host", "http://[", "http://host:99999", "http://host:0", "http://user:p/w@host", "socks4://host",
    "http://user:p#w@host", "://", "http://",
]  # fmt: skip
WRONG_AT_START = [
    *((name, value) for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy") for value in PROXIES),
    *((name, "/nonexistent") for name in ("VBS_CA_FILE", "RULES_FILE")),
    ("VBS_CA_FILE", "/dev/null"),
    ("LEDGER_URL", "postgresql://h/db?unknown=1"),
]

RIGHT = [
    ("AMQP_URL", "amqp://user:p%40w@host"),
    ("AMQP_URL", "amqps://user:p%23w@h1:5671/%2Fvhost?heartbeat=30&socket_timeout=2.5,amqps://[::1]/"),
    ("AMQP_URL", "amqp://host/a/b?blocked_connection_timeout=300&tcp_options={'TCP_KEEPIDLE':60}"),
    ("VBS_ENDPOINT", "https://vbs.region.example.com:8776/"),
    ("VBS_ENDPOINT", "http://[::1]:8776"),
    ("OS_AUTH_URL", "https://iam.region.example.com/v3"),
    ("LEDGER_URL", "postgresql://user:p%40w@h1:5432,h2:5433,[::1]:5434/db?sslmode=verify-full"),
    ("LEDGER_URL", "postgresql:///db?host=/var/run/postgresql"),
    ("LEDGER_URL", "sqlite:////var/lib/new/ledger.db"),
    ("HTTP_ADDRESS", ":8080"),
    ("HTTP_ADDRESS", "[::]:8080"),
    ("HTTP_ADDRESS", "localhost:0"),
]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore the log handlers and levels that a command in this process changes."""
    loggers = [logging.getLogger(name) for name in (None, "asyncio", "httpcore", "httpx", "pika")]
    levels = [logger.level for logger in loggers]
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_ends_the_program_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong value raises an error when it is read, and ends a command with one line and exit code 2."""
    monkeypatch.setenv(name, value)
    if name == "AMQP_CERT_FILE":
        monkeypatch.setenv("AMQP_KEY_FILE", value)
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings()
    assert "password@h" not in str(caught.value).replace("user:password@host", "")
    done = CliRunner().invoke(app, ["topology", "show"])
    assert (2, 1) == (done.exit_code, done.stderr.count("\n")), done.output
    assert done.stderr.startswith("settings: ")
    assert name in done.stderr


@pytest.mark.parametrize(("name", "value"), WRONG_AT_START)
def test_a_setting_that_fails_at_its_first_use_ends_the_worker(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker with such a setting exits with 2, and the error names the setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VBS_ENDPOINT", "https://vbs.example.invalid")
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/")
    monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["worker"])
    assert 2 == done.exit_code, done.output
    assert name in done.stderr
    assert "Traceback" not in done.output
    assert "p/w" not in done.output.replace(MASK, "")


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_a_right_setting_is_accepted(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks accept each valid value."""
    monkeypatch.setenv(name, value)
    load_settings()
