"""Wrong values of settings: each ends the program with one line that names the setting, and exit code 2."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.errors import SettingsError
from handler.redaction import MASK
from handler.settings import NAMES, load_settings
from tests.unit.wrong_values import SECRET, WRONG, Wrong

PROXIES = [
    "ftp://host", "http://[", "http://host:99999", "http://host:0", "http://user:p/w@host", "socks4://host",
    "http://user:p#w@host", "://", "http://",
]  # fmt: skip
WRONG_AT_START = [
    *((name, value) for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy") for value in PROXIES),
    *((name, "/nonexistent") for name in ("VBS_CA_FILE", "RULES_FILE")),
    ("VBS_CA_FILE", "/dev/null"),
    ("LEDGER_URL", "postgresql://h/db?unknown=1"),
    ("LEDGER_URL", "postgresql://h/db?ssl=require"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "host:4318"),
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


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.name}={wrong.value[:40]}")
def test_a_wrong_value_is_refused_with_a_remedy(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting, says what is wrong, and ends with an example; it shows no secret."""
    monkeypatch.setenv(wrong.name, wrong.value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    [problem] = caught.value.problems
    assert problem.startswith(f"{wrong.name}: ")
    assert wrong.says in problem
    assert re.search(rf" such as {wrong.name}=[^ ]+$", problem)
    assert SECRET not in problem


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.name}={wrong.value[:40]}")
def test_an_error_says_each_thing_once_in_our_own_words(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No part of the sentence is there twice, and neither a regular expression nor a class's name is."""
    monkeypatch.setenv(wrong.name, wrong.value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    parts = re.split(r"[;:.] |, ", str(caught.value))
    assert sorted(set(parts)) == sorted(parts)
    assert not re.search(r"\^\[|\\|\{1,|Error", str(caught.value))


@pytest.mark.parametrize(
    "wrong", {wrong.name: wrong for wrong in WRONG}.values(), ids=lambda wrong: wrong.name
)
def test_a_wrong_setting_ends_the_program_in_one_line(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with a wrong setting prints its error and nothing else, and its exit code is 2."""
    monkeypatch.setenv(wrong.name, wrong.value)
    with pytest.raises(SettingsError) as caught:
        load_settings()

    done = CliRunner().invoke(app, ["topology", "show"])

    assert (2, "", f"settings: {caught.value}\n") == (done.exit_code, done.stdout, done.stderr)


MEANT = [
    ("MAX_AGE", "24h", "86400"), ("MAX_AGE", "1 day", "86400"), ("MAX_AGE", "86,400", "86400"),
    ("VBS_TIMEOUT", "30s", "30"), ("VBS_TIMEOUT", "1m", "60"), ("VBS_TIMEOUT", "30,5", "30.5"),
    ("LEDGER_RETENTION", "30d", "30"), ("LEDGER_RETENTION", "2 weeks", "14"),
    ("CONCURRENCY", "1,000", "1000"), ("CONCURRENCY", "1_000", "1000"), ("CONCURRENCY", "64.0", "64"),
    ("CONCURRENCY", "4k", "32"), ("CONCURRENCY", "5,000", "32"), ("CONCURRENCY", "many", "32"),
    ("MAX_BODY_BYTES", "2MB", "2097152"), ("MAX_BODY_BYTES", "16 MiB", "16777216"),
    ("WAIT_LADDER", "10s,1m,2h", "10,60,7200"), ("WAIT_LADDER", "10 60 90", "10,60,90"),
    ("WAIT_LADDER", "30,10", "10,30"), ("WAIT_LADDER", "10,soon", "5,30,120"),
    ("LOG_LEVEL", "DEBGU", "DEBUG"), ("QUEUE_TYPE", "clasic", "classic"), ("LOG_FORMAT", "txt", "text"),
    ("VBS_AUTH", "application-credential", "application_credential"), ("VBS_AUTH", "ak/sk", "aksk"),
    ("VBS_API_VERSION", "2", "v2"), ("RESULT_UNROUTABLE", "ignored", "ignore"),
    ("LEDGER_URL", "postgresql://h/db?sslmode=on", "postgresql://user:password@host:5432/database"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "meant"), MEANT)
def test_the_example_is_what_was_probably_meant(
    name: str, value: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number with a unit or separators, and a mistyped word, are shown as the setting takes them."""
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value).endswith(f", such as {name}={meant}")


@pytest.mark.parametrize("source", [".env", "SECRETS_DIR/LOG_LEVEL"])
def test_an_error_names_the_file_that_the_value_is_from(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wrong value outside the environment is refused with its source, so that it is found."""
    monkeypatch.chdir(tmp_path)
    if source == ".env":
        Path(source).write_text("LOG_LEVEL=verbose\n")
    else:
        monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
        Path("LOG_LEVEL").write_text("verbose\n")

    with pytest.raises(SettingsError, match=f"^LOG_LEVEL in {source}: must be DEBUG"):
        load_settings()


def test_the_exchange_amq_topic_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each broker has it, and it is of the right type; no other name of the broker's own is allowed."""
    monkeypatch.setenv("RESULT_EXCHANGE", "amq.topic")

    assert "amq.topic" == load_settings().result_exchange


def test_each_setting_has_a_wrong_value() -> None:
    """No setting is left out of the table of wrong values."""
    assert NAMES <= {wrong.name for wrong in WRONG}
    assert len(WRONG) >= 60


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


@pytest.mark.parametrize("name", ["AMQP_CA_FILE", "RULES_FILE"])
def test_a_file_that_is_missing_is_named_by_its_whole_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path alone does not say in which folder the program looked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "missing.file")

    with pytest.raises(SettingsError, match=rf"{re.escape(str(tmp_path))}/missing\.file does not exist"):
        load_settings()
