"""Variables that look like settings and are none: what is named, and what belongs to other programs."""

import asyncio
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.bootstrap import warn_of_unknown_names
from handler.cli import app
from handler.doctor.examine import examine
from handler.settings import NAMES, load
from handler.sources import Found
from handler.unknown_names import unknown_names

MISTYPED = {
    "VBS_ALLOWED_PROJECT": "VBS_ALLOWED_PROJECTS",
    "VBS_ALOWED_PROJECTS": "VBS_ALLOWED_PROJECTS",
    "LEDGER_URI": "LEDGER_URL",
    "LEDGER_ULR": "LEDGER_URL",
    "AMQP_URI": "AMQP_URL",
    "AMQP-URL": "AMQP_URL",
    "AMQP_URLS": "AMQP_URL",
    "AMQP_CAFILE": "AMQP_CA_FILE",
    "SKIP_SNAPSHOT": "SKIP_SNAPSHOTS",
    "SNAPSHOT_BINDING": "SNAPSHOT_BINDINGS",
    "TRACK_BACKUP": "TRACK_BACKUPS",
    "WAIT_LADER": "WAIT_LADDER",
    "MAX_ATTEMPT": "MAX_ATTEMPTS",
    "MAX_BODY_SIZE": "MAX_BODY_BYTES",
    "CONCURENCY": "CONCURRENCY",
    "LOGLEVEL": "LOG_LEVEL",
    "OS_PASWORD": "OS_PASSWORD",
    "OS_USER_NAME": "OS_USERNAME",
    "OS_ACCESS_KEY": "HUAWEICLOUD_SDK_AK",
    "OS_SK": "HUAWEICLOUD_SDK_SK",
    "OS_AUTH_TOKEN": "OS_TOKEN",
    "HUAWEICLOUD_SDK_SECURITYTOKEN": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
    "HTTP_ADRESS": "HTTP_ADDRESS",
    "SECRET_DIR": "SECRETS_DIR",
    "QUEUE_TYP": "QUEUE_TYPE",
    "RULE_FILE": "RULES_FILE",
    "VBS_END_POINT": "VBS_ENDPOINT",
    "DRAIN_SECOND": "DRAIN_SECONDS",
}

OUR_PREFIX = [
    "AMQP_HOST", "AMQP_PORT", "AMQP_PASSWORD", "AMQP_VHOST", "LEDGER_PATH", "LEDGER_PORT", "VBS_REGION",
    "RESULT_QUEUE", "SNAPSHOT_TTL", "TRACK_INTERVAL", "MAX_DELAY", "WAIT_SECONDS", "LEASE_TIME",
    "MAX_RETRIES",
]  # fmt: skip

OTHERS = {
    # Kubernetes sets these for each service of the namespace; so do Docker's links.
    "LEDGER_PORT": "tcp://10.96.0.12:5432",
    "LEDGER_PORT_5432_TCP": "tcp://10.96.0.12:5432",
    "LEDGER_PORT_5432_TCP_ADDR": "10.96.0.12",
    "LEDGER_PORT_5432_TCP_PORT": "5432",
    "LEDGER_PORT_5432_TCP_PROTO": "tcp",
    "LEDGER_SERVICE_HOST": "10.96.0.12",
    "LEDGER_SERVICE_PORT": "5432",
    "LEDGER_SERVICE_PORT_POSTGRES": "5432",
    "AMQP_SERVICE_HOST": "10.96.0.13",
    "AMQP_PORT": "tcp://[fd00::12]:5672",
    "SNAPSHOT_BACKUP_SERVICE_HOST": "10.96.0.14",
    "SNAPSHOT_BACKUP_PORT_8080_TCP_ADDR": "10.96.0.14",
    "SNAPSHOT_QUEUE_PORT": "tcp://10.96.0.15:80",
    # other programs
    "MAX_JOBS": "4",
    "MAX_WORKERS": "4",
    "MAX_REQUESTS": "1000",
    "MAX_HEAP_SIZE": "2G",
    "WAIT_HOSTS": "rabbitmq:5672",
    "WAIT_TIMEOUT": "60",
    "WEB_CONCURRENCY": "2",
    "HTTP_PROXY": "http://proxy:3128",
    "HTTP_HOST": "x",
    "LOG_DIR": "/var/log",
    "LOG_FILE": "x",
    "LOGNAME": "me",
    "STATE_DIRECTORY": "/var/lib/x",
    "QUEUE_URL": "x",
    "QUEUE_CONNECTION": "x",
    "OS_CLOUDNAME": "undercloud",
    "OS_VOLUME_API_VERSION": "3",
    "OS_IMAGE_API_VERSION": "2",
    "OS_MANILA_ENDPOINT_TYPE": "internalURL",
    "OS_NO_CACHE": "1",
    "OS_PASSWORD_INPUT": "x",
    "OS_AUTH_VERSION": "3",
    "OS_AUTH_PROTOCOL": "https",
    "HUAWEICLOUD_SDK_PROJECT_ID": "x",
    "OTEL_SERVICE_NAME": "x",
    "RABBITMQ_URL": "amqp://x",
    "DATABASE_URL": "postgres://x",
    "PATH": "/bin",
    "MAXAGEPROGRAM": "x",
    "SECRETS_MANAGER": "x",
}  # fmt: skip


@pytest.mark.parametrize(("name", "meant"), MISTYPED.items())
def test_a_mistyped_name_is_reported_with_the_one_that_was_meant(name: str, meant: str) -> None:
    """A name that is an edit or two from a setting has no effect, and silently so before."""
    [unknown] = unknown_names([Found(name, "x", "environment")], NAMES)

    assert f"did you mean {meant}?" == unknown.meant


@pytest.mark.parametrize(
    "name", ["OS_PASSCODE", "OS_IDENTITY_PROVIDER", "OS_CLIENT_SECRET", "OS_AUTH_METHODS"]
)
def test_a_variable_of_a_sign_in_that_we_do_not_have_is_named(name: str) -> None:
    """An ``openrc`` file of a federation or of one-time passwords is not read in silence."""
    [unknown] = unknown_names([Found(name, "x", "environment")], NAMES)

    assert (name, "no sign-in of this program needs it; VBS_AUTH names those that there are") == (
        unknown.name,
        unknown.meant,
    )


@pytest.mark.parametrize("name", OUR_PREFIX)
def test_an_unknown_name_with_a_prefix_of_ours_is_reported(name: str) -> None:
    """The report names a setting of the same prefix."""
    [unknown] = unknown_names([Found(name, "5672", "environment")], NAMES)

    assert f"{name.partition('_')[0]}_" in unknown.meant


@pytest.mark.parametrize(("name", "text"), OTHERS.items())
def test_a_variable_of_another_program_is_not_reported(name: str, text: str) -> None:
    """Kubernetes, Docker, OpenStack's tools and other images set variables that begin like ours."""
    assert [] == list(unknown_names([Found(name, text, "environment")], NAMES))


def test_every_setting_is_known() -> None:
    """No setting is taken for a mistyped name of another."""
    assert [] == list(unknown_names([Found(name, "x", ".env") for name in (*NAMES, "SECRETS_DIR")], NAMES))


@pytest.fixture
def mistyped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Set a mistyped name in each source, and return them with their sources."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "state-keys").write_text("a-key-of-many-letters")
    (tmp_path / ".env").write_text("LEDGER_URI=postgresql://h/db\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("vbs_allowed_project", "p")
    return [
        ("VBS_ALLOWED_PROJECT", "environment"),
        ("LEDGER_URI", ".env"),
        ("STATE-KEYS", "SECRETS_DIR/state-keys"),
    ]


def test_a_worker_logs_each_mistyped_name(
    mistyped: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """The warning at start says what the name's source is, and that it has no effect."""
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_names(load().sources)

    lines = [record.getMessage() for record in caplog.records]
    assert [f"{name} ({source}) is no setting and has no effect" for name, source in mistyped] == [
        line.partition(";")[0] for line in lines
    ]


def test_doctor_reports_each_mistyped_name(
    mistyped: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistyped name is a warning among the findings on settings."""
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1")

    found = asyncio.run(examine())

    named = [each.what for each in found if each.area == "settings" and "no setting" in each.text]
    assert [name for name, _ in mistyped] == named
    assert {"warning"} == {each.state for each in found if each.what in named}


def test_settings_lists_each_mistyped_name(mistyped: list[tuple[str, str]]) -> None:
    """The command warns on standard error, beside the settings."""
    done = CliRunner().invoke(app, ["settings"])

    assert 0 == done.exit_code
    assert all(f"warning: {name} ({source})" in done.stderr for name, source in mistyped)
