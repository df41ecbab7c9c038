"""Tests of the settings that the function reads from its context."""

import pytest

from handler.errors import SettingsError
from handler.function.context import settings_of
from tests.twins.context import FakeContext

ENDPOINT = {"VBS_ENDPOINT": "https://vbs.region.example.com"}


def test_settings_come_from_the_functions_user_data() -> None:
    """The function's user data has the same variable names as the environment."""
    settings = settings_of(FakeContext({**ENDPOINT, "WAIT_LADDER": "5,30", "CONCURRENCY": "7"})).settings

    assert ((5, 30), 7) == (settings.wait_ladder, settings.concurrency)


def test_user_data_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the user data overrides the environment; other variables come from the environment."""
    monkeypatch.setenv("SNAPSHOT_QUEUE", "environment")
    monkeypatch.setenv("RESULT_EXCHANGE", "environment")
    settings = settings_of(FakeContext({"SNAPSHOT_QUEUE": "user-data"})).settings

    assert ("user-data", "environment") == (settings.snapshot_queue, settings.result_exchange)


def test_a_variable_that_is_there_and_empty_is_not_set() -> None:
    """An empty variable counts as unset, as in the environment."""
    assert settings_of(FakeContext({"VBS_PROJECT_ID": ""})).settings.vbs_project_id is None


@pytest.mark.parametrize(
    ("user_data", "url"),
    [({}, "none"), ({"LEDGER_URL": "postgresql://db/ledger"}, "postgresql://db/ledger")],
)
def test_the_ledger_is_none_unless_a_url_is_set(user_data: dict[str, str], url: str) -> None:
    """Without LEDGER_URL the ledger is ``none``: a file would lack the backups of other instances."""
    assert url == settings_of(FakeContext(user_data)).settings.ledger_url.get_secret_value()


def test_a_ledger_url_of_the_environment_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A LEDGER_URL of the environment is used, even if it names a file."""
    monkeypatch.setenv("LEDGER_URL", "sqlite:///x.db")

    assert settings_of(FakeContext()).settings.ledger_url.get_secret_value() == "sqlite:///x.db"


def test_a_bad_setting_is_named_and_a_secret_is_not_shown() -> None:
    """The error names the variable without its value: all readers of the function's log see the text."""
    with pytest.raises(SettingsError, match="AMQP_URL") as raised:
        settings_of(FakeContext({"AMQP_URL": "http://user:hunter2@host/"}))

    assert "hunter2" not in str(raised.value)
