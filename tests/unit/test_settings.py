"""Where settings come from, and what goes before what."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.errors import SettingsError
from handler.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that ``SECRETS_DIR`` names."""
    path = folder / "secrets"
    path.mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(path))
    return path


def test_without_anything_the_defaults_hold() -> None:
    """Nothing is needed to start with."""
    assert Settings.model_construct() == load_settings()


def test_what_is_nearer_goes_first(folder: Path, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says itself, the environment, the file, the mounted secrets."""
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
    """As some tools that write them have it."""
    monkeypatch.setenv(name, "7")

    assert 7 == load_settings().concurrency


def test_an_empty_one_is_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and charts leave variables empty."""
    monkeypatch.setenv("CONCURRENCY", "")
    (folder / ".env").write_text("MAX_ATTEMPTS=\n")

    assert Settings.model_construct() == load_settings()


def test_a_dotenv_file_is_read_as_shells_write_it(folder: Path) -> None:
    """Quotes, comments, ``export`` and variables in values; what is no setting of ours is for others."""
    (folder / ".env").write_text(
        "# ours\nHOST=vbs.example.com\nexport VBS_ENDPOINT=\"https://${HOST}\"  # the API\nOTHER='x'\n"
    )

    assert "https://vbs.example.com" == load_settings().vbs_endpoint


def test_a_dotenv_file_can_be_passed_over(folder: Path) -> None:
    """The first run has a worker of its own, which another program's file must not change."""
    (folder / ".env").write_text("CONCURRENCY=7\n")

    assert Settings.model_construct() == load_settings(_env_file=None)


def test_other_files_beside_the_secrets_are_left_alone(secrets: Path) -> None:
    """A mounted secret may have keys for others, and folders that make its updates atomic."""
    (secrets / "..data").mkdir()
    (secrets / "tls.key").write_bytes(b"\xff")

    assert Settings.model_construct() == load_settings()


def test_a_secret_that_cannot_be_read_is_named(secrets: Path) -> None:
    """One line, with the setting."""
    (secrets / "OS_TOKEN").write_bytes(b"\xff")

    with pytest.raises(SettingsError, match=r"^SECRETS_DIR: .*os_token"):
        load_settings()


def test_a_secrets_folder_that_is_none_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that is missing is no set of empty secrets."""
    monkeypatch.setenv("SECRETS_DIR", str(folder / "none"))

    with pytest.raises(SettingsError, match=r"^SECRETS_DIR: .* is not a folder; .*$"):
        load_settings()


def test_each_bad_one_is_named_and_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the variable's name; a value may be a secret in the wrong place."""
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
    """A worker that forgot sooner would make a second backup; the least that is allowed is named, and is."""
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
    """It ends with exit code 2 and one line, before it has touched the ledger or the broker."""
    monkeypatch.setenv("LEDGER_RETENTION", "1")

    done = CliRunner().invoke(app, ["worker"])

    assert 2 == done.exit_code
    [line] = done.stderr.splitlines()
    assert line.startswith("settings: LEDGER_RETENTION: ")
