"""``snapshot-backup settings``: each value, where it is from, and no secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.redaction import MASK
from handler.settings import NAMES
from tests.settings_names import SECRETS

SECRET = "s3cr3t-pw"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the program's working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown() -> dict[str, dict[str, Any]]:
    """Run the command, and return its items by name."""
    done = CliRunner().invoke(app, ["settings", "--json"])
    assert (0, "") == (done.exit_code, done.stderr)
    return {item["name"]: item for item in json.loads(done.stdout)["settings"]}


def test_every_setting_is_shown_with_its_meaning() -> None:
    """The command shows each setting of the model, and ``SECRETS_DIR``."""
    items = shown()

    assert NAMES | {"SECRETS_DIR"} == items.keys()
    assert all(item["meaning"] and "`" not in item["meaning"] for item in items.values())


def test_each_value_has_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is from the environment, ``.env``, a file in ``SECRETS_DIR``, or is the default."""
    (folder / "secrets").mkdir()
    (folder / "secrets" / "SNAPSHOT_EXCHANGE").write_text("from-a-file\n")
    (folder / ".env").write_text("CONCURRENCY=7\n")
    monkeypatch.setenv("SECRETS_DIR", "secrets")
    monkeypatch.setenv("WAIT_LADDER", " 5, 30, ")
    monkeypatch.setenv("SNAPSHOT_BINDINGS", "openstack:notifications.info")
    monkeypatch.setenv("MAX_ATTEMPTS", "")

    items = shown()

    wanted = {
        "WAIT_LADDER": ("5,30", "environment", "5,30,120,600,3600"),
        "SNAPSHOT_BINDINGS": ("openstack:notifications.info", "environment", ""),
        "CONCURRENCY": ("7", ".env", "32"),
        "SNAPSHOT_EXCHANGE": ("from-a-file", "SECRETS_DIR/SNAPSHOT_EXCHANGE", "snapshots"),
        "SECRETS_DIR": ("secrets", "environment", ""),
        "MAX_ATTEMPTS": ("8", "default", "8"),
        "TRACK_BACKUPS": ("true", "default", "true"),
        "VBS_TIMEOUT": ("30", "default", "30"),
        "VBS_ENDPOINT": ("", "default", "by the catalogue"),
    }
    assert wanted == {
        name: (items[name]["value"], items[name]["source"], items[name]["default"]) for name in wanted
    }


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_shown(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each secret is masked, a short one too; of a URL only the password is."""
    values = dict.fromkeys(SECRETS, f"{SECRET}-{SECRET}") | {
        "AMQP_URL": f"amqp://u:{SECRET}@h1/v,amqps://u:pw@h2?heartbeat=5",
        "AMQP_MANAGEMENT_URL": f"http://u:{SECRET}@h1:15672",
        "LEDGER_URL": f"postgresql://u:{SECRET}@h/db?password={SECRET}",
        "STATE_KEYS": f"{SECRET}-{SECRET},{SECRET}-another-key",
        "HUAWEICLOUD_SDK_AK": "abc",
        "OS_PASSWORD": "abc",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)

    output = CliRunner().invoke(app, ["settings", *options]).output

    assert SECRET not in output
    assert "abc" not in output
    assert ":pw@" not in output
    assert f"amqp://u:{MASK}@h1/v,amqps://u:{MASK}@h2?heartbeat=5" in output


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong setting there is no table, but the error's one line."""
    monkeypatch.setenv("CONCURRENCY", "many")

    done = CliRunner().invoke(app, ["settings"])

    assert (2, "", 1) == (done.exit_code, done.stdout, done.stderr.count("\n"))


def test_no_line_ends_in_spaces() -> None:
    """The lines can be compared and pasted."""
    lines = CliRunner().invoke(app, ["settings"]).stdout.splitlines()

    assert lines == [line.rstrip() for line in lines]
