"""Findings of the doctor on invalid and on risky settings."""

import pytest

from infra.local.server import free_ports
from tests.integration.doctor.looking import Report, run


def look(monkeypatch: pytest.MonkeyPatch, **changed: str) -> Report:
    """Run the doctor without any server."""
    closed = free_ports(1)[0]
    defaults = {"AMQP_URL": f"amqp://127.0.0.1:{closed}", "VBS_ENDPOINT": f"http://127.0.0.1:{closed}"}
    for name, value in (defaults | changed).items():
        monkeypatch.setenv(name, value)
    return run()


@pytest.mark.parametrize("delays", ["nonsense", "30,5", "0,5", "5,99999999"])
def test_an_invalid_wait_ladder_is_bad(monkeypatch: pytest.MonkeyPatch, delays: str) -> None:
    """The delays must grow, and each must fit RabbitMQ's 32 bits of milliseconds."""
    report = look(monkeypatch, WAIT_LADDER=delays)

    report.one("settings", "bad", "WAIT_LADDER")
    assert 2 == report.exit


def test_each_bad_setting_is_named_and_its_area_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bad settings give two findings, and the other areas are reported as not checked."""
    report = look(monkeypatch, VBS_ENDPOINT="ftp://x", LEDGER_URL="mysql://u:s3cr3t@h/d")

    report.one("settings", "bad", "VBS_ENDPOINT")
    report.one("settings", "bad", "LEDGER_URL")
    assert {"broker", "api", "ledger"} == {each.area for each in report.findings if each.state == "warning"}
    assert "s3cr3t" not in f"{report}"


@pytest.mark.parametrize(
    "url", ["amqp://u:s3cr3t#x@host/", "amqp://host:port/", "http://host/", "amqp://[::1/", "host:5672"]
)
def test_an_invalid_broker_address_is_bad(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An invalid AMQP_URL is named with an example, and never quoted, since it may hold a password."""
    report = look(monkeypatch, AMQP_URL=url)

    report.one("settings", "bad", "AMQP_URL", "amqp://user:password@host:5672/vhost")
    assert "s3cr3t" not in f"{report}"


@pytest.mark.parametrize("variable", ["AMQP_CA_FILE", "VBS_CA_FILE", "RULES_FILE"])
def test_a_missing_file_is_bad(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A missing file is reported with its variable and its path."""
    look(monkeypatch, **{variable: "/nowhere/file"}).one("settings", "bad", variable, "/nowhere/file")


def test_risky_settings_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classic queues, long calls, delays longer than MAX_AGE, and no ledger are warnings."""
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


def test_patterns_without_the_clouds_own_snapshots_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """SKIP_SNAPSHOTS replaces the default: what it leaves out is named, with the whole value to set."""
    report = look(monkeypatch, SKIP_SNAPSHOTS="autobk_snapshot_*,mine-*")

    report.one("settings", "warning", "SKIP_SNAPSHOTS", "manualbk_snapshot_*, backup-snap-*")
