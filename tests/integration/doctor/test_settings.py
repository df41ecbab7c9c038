"""Settings that cannot be, and those that can but weigh."""

import pytest

from infra.local.server import free_ports
from tests.integration.doctor.looking import Report, run


def look(monkeypatch: pytest.MonkeyPatch, **changed: str) -> Report:
    """Run the doctor without any server."""
    closed = free_ports(1)[0]
    nobody = {"AMQP_URL": f"amqp://127.0.0.1:{closed}", "VBS_ENDPOINT": f"http://127.0.0.1:{closed}"}
    for name, value in (nobody | changed).items():
        monkeypatch.setenv(name, value)
    return run()


@pytest.mark.parametrize("delays", ["nonsense", "30,5", "0,5", "5,99999999"])
def test_a_wait_ladder_that_is_none(monkeypatch: pytest.MonkeyPatch, delays: str) -> None:
    """It must grow, and RabbitMQ knows no longer wait than 32 bits of milliseconds."""
    report = look(monkeypatch, WAIT_LADDER=delays)

    report.one("settings", "bad", "WAIT_LADDER")
    assert 2 == report.exit


def test_each_problem_is_named_and_the_rest_said_to_be_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wrong settings are two lines."""
    report = look(monkeypatch, VBS_ENDPOINT="ftp://x", LEDGER_URL="mysql://u:s3cr3t@h/d")

    report.one("settings", "bad", "VBS_ENDPOINT")
    report.one("settings", "bad", "LEDGER_URL")
    assert {"broker", "api", "ledger"} == {each.area for each in report.findings if each.state == "warning"}
    assert "s3cr3t" not in f"{report}"


@pytest.mark.parametrize(
    "url", ["amqp://u:s3cr3t#x@host/", "amqp://host:port/", "http://host/", "amqp://[::1/", "host:5672"]
)
def test_an_address_of_a_broker_that_is_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A password that was not %-encoded, a port that is no number: named, and never quoted."""
    report = look(monkeypatch, AMQP_URL=url)

    report.one("settings", "bad", "AMQP_URL", "amqp://user:password@host:5672/vhost")
    assert "s3cr3t" not in f"{report}"


@pytest.mark.parametrize("variable", ["AMQP_CA_FILE", "VBS_CA_FILE", "RULES_FILE"])
def test_a_file_that_is_missing(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A file is named by its variable."""
    look(monkeypatch, **{variable: "/nowhere/file"}).one("settings", "bad", variable, "/nowhere/file")


def test_what_is_allowed_but_weighs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classic queues, long calls, a ladder longer than an event's life, and no ledger are warnings."""
    report = look(
        monkeypatch,
        QUEUE_TYPE="classic",
        VBS_TIMEOUT="600",
        WAIT_LADDER="5,3600",
        MAX_AGE="60",
        LEDGER_URL="none",
    )

    report.one("settings", "warning", "QUEUE_TYPE", "lost")
    report.one("settings", "warning", "VBS_TIMEOUT", "consumer_timeout")
    report.one("settings", "warning", "WAIT_LADDER", "MAX_AGE")
    report.one("ledger", "warning", "LEDGER_URL", "both make a backup")
