"""Unit tests of the settings: their sources and order, and the errors for bad values."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.errors import SettingsError
from handler.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the program's working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the folder that ``SECRETS_DIR`` names, and return it."""
    path = folder / "secrets"
    path.mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(path))
    return path


def test_without_any_variable_the_defaults_hold() -> None:
    """No setting is needed to load the settings."""
    assert Settings.model_construct() == load_settings()


def test_the_sources_have_an_order(folder: Path, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments override the environment, which overrides ``.env``, which overrides ``SECRETS_DIR``."""
    names = ["snapshot_queue", "snapshot_exchange", "result_exchange", "vbs_project_id"]
    for name in names:
        (secrets / name.upper()).write_text("secret\n")
    (folder / ".env").write_text("".join(f"{name.upper()}=file\n" for name in names[:3]))
    for name in names[:2]:
        monkeypatch.setenv(name.upper(), "environment")
    settings = load_settings(snapshot_queue="program")

    assert ["program", "environment", "file", "secret"] == [getattr(settings, name) for name in names]


@pytest.mark.parametrize("name", ["CONCURRENCY", "concurrency"])
def test_a_name_counts_in_either_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is read in upper and in lower case, since some tools write lower case."""
    monkeypatch.setenv(name, "7")

    assert 7 == load_settings().concurrency


def test_a_dotenv_file_can_be_ignored(folder: Path) -> None:
    """A ``.env`` file can be ignored, since a worker of ``infra/up`` must not read another program's."""
    (folder / ".env").write_text("CONCURRENCY=7\n")

    assert Settings.model_construct() == load_settings(_env_file=None)


def test_each_bad_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names each bad setting without its value, which may be a misplaced secret."""
    monkeypatch.setenv("CONCURRENCY", "hunter2")
    monkeypatch.setenv("QUEUE_TYPE", "hunter2")

    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert ["QUEUE_TYPE", "CONCURRENCY"] == [text.partition(":")[0] for text in raised.value.problems]
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "least"),
    [({}, "2.042"), ({"MAX_AGE": "3600", "TRACK_DEADLINE": "3600", "WAIT_LADDER": "5"}, "0.084")],
)
def test_a_retention_in_which_a_message_can_still_come_is_refused(
    changed: dict[str, str], least: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shorter retention would cause a second backup; the least allowed is named, and accepted."""
    for name, value in {**changed, "LEDGER_RETENTION": str(float(least) - 0.001)}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as raised:
        load_settings()

    [problem] = raised.value.problems
    assert problem.startswith("LEDGER_RETENTION: ")
    assert problem.endswith(f"LEDGER_RETENTION={least}")
    for name in ("MAX_AGE", "TRACK_DEADLINE", "WAIT_LADDER"):
        assert name in problem
    monkeypatch.setenv("LEDGER_RETENTION", least)
    assert float(least) == load_settings().ledger_retention


def test_a_worker_with_too_short_a_retention_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker exits with 2 and prints one line about LEDGER_RETENTION."""
    monkeypatch.setenv("LEDGER_RETENTION", "1")

    done = CliRunner().invoke(app, ["worker"])

    assert 2 == done.exit_code
    [line] = done.stderr.splitlines()
    assert line.startswith("settings: LEDGER_RETENTION: ")


@pytest.mark.parametrize("value", ["too short", "a-key-of-many-letters,short"])
def test_a_short_state_key_is_refused_with_an_example(value: str) -> None:
    """The error names the variable and shows no part of the value."""
    with pytest.raises(SettingsError, match=r"STATE_KEYS: each key must have at least 16.*openssl") as caught:
        load_settings(state_keys=value)
    assert value not in str(caught.value)


def test_state_keys_are_secrets_and_the_first_comes_first() -> None:
    """State keys keep their order, and no repr shows them."""
    settings = load_settings(state_keys="a-key-of-many-letters, another-key-of-letters")
    assert ["a-key-of-many-letters", "another-key-of-letters"] == [
        key.get_secret_value() for key in settings.state_keys
    ]
    assert "letters" not in repr(settings)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"ledger_url": "none"}, True),
        ({"ledger_url": "none", "state_keys": "a-key-of-many-letters"}, False),
        ({"ledger_url": "sqlite:///x.db"}, False),
    ],
)
def test_only_without_a_ledger_and_keys_waiting_messages_are_unauthenticated(
    settings: dict[str, str], wanted: bool
) -> None:
    """Delayed messages are unauthenticated only without keys and ledger, since any ledger stores a key."""
    assert wanted is load_settings(**settings).unauthenticated


SPELLINGS = [
    "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5",
    "8D2C4B6A1F3E4D5C9B7A60F1E2D3C4B5",
    "8d2c4b6a-1f3e-4d5c-9b7a-60f1e2d3c4b5",
    "8D2C4B6A-1F3E-4D5C-9B7A-60F1E2D3C4B5",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_project_in_any_spelling_is_one_allowed_project(spelling: str) -> None:
    """A project id in any spelling becomes Keystone's 32 hex digits in lower case; other ids stay."""
    allowed = load_settings(vbs_allowed_projects=f"{spelling},Team-A").vbs_allowed_projects
    assert (SPELLINGS[0], "Team-A") == allowed
