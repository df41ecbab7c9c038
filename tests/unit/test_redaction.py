"""Redaction: secrets are replaced by value in all output, in each form that quotes them."""

import contextlib
import json
import logging
import sys
from urllib.parse import quote

import pytest

from events.errors import EventIds, InvalidEvent
from events.message import Message, State
from events.outcome import Category
from handler.backup import result as results
from handler.backup.received import Received
from handler.commands.common import fail
from handler.commands.doctor import _without_secrets
from handler.doctor.findings import Finding
from handler.errors import ApiError, SettingsError
from handler.redaction import MASK, hold, hold_token, hold_urls, install_excepthook, redacted
from handler.settings import load_settings
from handler.telemetry.logs import JsonFormatter, TextFormatter

SECRET = 's3cr"t/p@ss#wörd'
TOKEN = "gAAAAABl" + "x7" * 60

FORMS = {
    "as it is": SECRET,
    "%-encoded": quote(SECRET, safe=""),
    "%-encoded but slashes": quote(SECRET),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON in UTF-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
}

ENVIRONMENT = {
    "OS_PASSWORD": SECRET,
    "OS_TOKEN": SECRET,
    "HUAWEICLOUD_SDK_SK": SECRET,
    "HUAWEICLOUD_SDK_AK": SECRET,
    "HUAWEICLOUD_SDK_SECURITY_TOKEN": SECRET,
    "AMQP_URL": f"amqp://user:{quote(SECRET, safe='')}@127.0.0.1:5672/",
    "LEDGER_URL": f"postgresql://user:{quote(SECRET, safe='')}@127.0.0.1/db",
    "HTTPS_PROXY": f"http://user:{quote(SECRET, safe='')}@127.0.0.1:3128",
    "http_proxy": f"http://user:{quote(SECRET, safe='')}@127.0.0.1:3128",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRET}",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_replaced_in_every_form(form: str) -> None:
    """A secret is replaced unchanged, %-encoded and in JSON, as libraries and servers quote it."""
    hold(SECRET)
    assert f"before {MASK} after" == redacted(f"before {form} after")


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_every_secret_of_the_environment_is_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the settings are loaded, each secret of the environment is replaced."""
    monkeypatch.setenv(name, ENVIRONMENT[name])
    with contextlib.suppress(SettingsError):  # an HTTP header cannot carry some of them
        load_settings()
    assert MASK == redacted(SECRET)


def test_secrets_of_settings_that_are_refused_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are replaced even if their setting is invalid, since the error may quote them."""
    monkeypatch.setenv("AMQP_URL", f"amqp://user:{SECRET}@127.0.0.1:99999/")
    with pytest.raises(Exception, match="AMQP_URL"):
        load_settings()
    assert MASK == redacted(SECRET)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("amqp://user:left@right@host/", "right"),
        ("amqp://user:left@right@host/", "left@right"),
        ("amqp://user:left/right@host/", "left"),
        ("amqp://user:left#right@host/", "right"),
        ("amqp://user:left?right@host/", "right"),
        ("amqp://user:left,right@host/", "right"),
        ("postgresql://host/db?password=right", "right"),
        ("amqp://a:first@host1,amqp://a:second@host2", "second"),
        ("amqp://a:first@host1\nAMQP://a:second@host2", "first"),
    ],
)
def test_each_part_of_an_unescaped_password_is_held(url: str, part: str) -> None:
    """Each part of an unescaped password is replaced, since an error may quote it as a host or path."""
    hold_urls(url)
    assert f"no host {MASK} there" == redacted(f"no host {part} there")


@pytest.mark.parametrize("url", ["https://vbs.example.com:8443/v2", "sqlite:///dir@1/file.db", "host:5672"])
def test_a_url_without_a_password_holds_nothing(url: str) -> None:
    """A URL without a password stays unchanged."""
    hold_urls(url)
    assert url == redacted(url)


def test_a_short_password_is_replaced_where_it_stands_alone() -> None:
    """A short password is replaced only as a whole word, not within other words."""
    hold("test")
    assert f"the latest is {MASK}." == redacted("the latest is test.")


def test_the_broker_default_user_is_no_secret() -> None:
    """The word ``guest`` stays unchanged, since hints contain it."""
    load_settings()
    assert "guest" == redacted("guest")


def test_a_truncated_token_is_replaced() -> None:
    """A truncated token is replaced, since an answer that quotes it may be truncated."""
    hold_token(TOKEN)
    assert f"token {MASK}: refused" == redacted(f"token {TOKEN[:90]}: refused")


def test_only_the_latest_tokens_are_kept() -> None:
    """Only the latest tokens are kept, since a program runs for months and renews them."""
    for number in range(5_000):
        hold_token(f"{number:x<40}")
    assert (MASK, f"{1:x<40}") == (redacted(f"{4_999:x<40}"), redacted(f"{1:x<40}"))


def test_no_text_of_an_outcome_has_a_secret() -> None:
    """No failure, dead-letter header or outcome has a secret, even if the API's answer quotes one."""
    hold(SECRET)
    error = ApiError(Category.REFUSED, f"bad {SECRET}", code=SECRET, request_id=SECRET)
    failure = results.failure(error, Category.REFUSED)
    assert SECRET not in repr(failure)
    rejected = results.rejected(
        Received(Message(b""), State(1.0)), InvalidEvent("bad_request", f"bad {SECRET}", EventIds())
    )
    headers = results.dead_letter_headers(rejected, rejected.dead_letter or failure, now=1.0, queue="q")
    assert SECRET not in repr(headers)
    assert SECRET not in repr(rejected.outcome)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_no_log_line_has_a_secret(formatter: logging.Formatter) -> None:
    """No log line has a secret in its message, its fields or its traceback."""
    hold(SECRET)
    error = ValueError(SECRET)
    record = logging.LogRecord("n", logging.ERROR, "p", 1, "%s", (SECRET,), (ValueError, error, None))
    vars(record).update(text=SECRET, nested={"list": [SECRET]}, number=5)
    shown = formatter.format(record)
    assert not any(form in shown for form in (SECRET, json.dumps(SECRET)[1:-1], "wörd"))
    assert 4 == shown.count(MASK)


def test_no_error_of_a_command_has_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """An error of a command on standard error has no secret."""
    hold(SECRET)
    fail(f"failed: {SECRET}")
    assert f"failed: {MASK}\n" == capsys.readouterr().err


def test_no_finding_of_doctor_has_a_secret() -> None:
    """A finding of the doctor has no secret, even if it quotes a library's error."""
    hold(SECRET)
    found = _without_secrets(Finding("api", "sign-in", "bad", SECRET, SECRET))
    assert (MASK, MASK) == (found.text, found.remedy)


def test_no_traceback_has_a_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback of an uncaught error has no secret."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    install_excepthook()
    hold(SECRET)
    error = ValueError(SECRET)
    sys.excepthook(ValueError, error, None)
    assert f"ValueError: {MASK}\n" == capsys.readouterr().err
