"""What the function reads out of a call's context."""

import pytest

from handler.errors import SettingsError
from handler.function_settings import deadline_of, settings_of
from tests.twins.context import FakeContext

ENDPOINT = {"VBS_ENDPOINT": "https://vbs.region.example.com"}


def test_settings_come_from_the_functions_user_data() -> None:
    """By the names that they have everywhere."""
    settings = settings_of(FakeContext({**ENDPOINT, "WAIT_LADDER": "5,30", "CONCURRENCY": "7"}))

    assert ((5, 30), 7) == (settings.wait_ladder, settings.concurrency)


def test_user_data_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for this function is nearer than what the image brings."""
    monkeypatch.setenv("SNAPSHOT_QUEUE", "environment")
    monkeypatch.setenv("RESULT_EXCHANGE", "environment")
    settings = settings_of(FakeContext({"SNAPSHOT_QUEUE": "user-data"}))

    assert ("user-data", "environment") == (settings.snapshot_queue, settings.result_exchange)


def test_a_variable_that_is_there_and_empty_is_not_set() -> None:
    """As it is in the environment."""
    assert settings_of(FakeContext({"VBS_PROJECT_ID": ""})).vbs_project_id is None


@pytest.mark.parametrize(
    ("user_data", "url"),
    [({}, "none"), ({"LEDGER_URL": "postgresql://db/ledger"}, "postgresql://db/ledger")],
)
def test_without_a_ledger_url_the_api_is_asked_before_each_create(
    user_data: dict[str, str], url: str
) -> None:
    """A file on one instance's own disk would say nothing of what the others have made."""
    assert url == settings_of(FakeContext(user_data)).ledger_url.get_secret_value()


def test_a_ledger_url_of_the_environment_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets it knows best, even a file."""
    monkeypatch.setenv("LEDGER_URL", "sqlite:///x.db")

    assert settings_of(FakeContext()).ledger_url.get_secret_value() == "sqlite:///x.db"


def test_a_bad_setting_is_named_and_a_secret_is_not_shown() -> None:
    """The platform shows the text to whoever may see the function's log."""
    with pytest.raises(SettingsError, match="AMQP_URL") as raised:
        settings_of(FakeContext({"AMQP_URL": "http://user:hunter2@host/"}))

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("remaining", [-1, 0, 60_001, 10**12], ids=str)
def test_an_impossible_remaining_time_is_not_believed(
    remaining: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runtimes are known whose clock is in other units: the configured time rules."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    deadline = deadline_of(FakeContext(remaining=remaining), now=100.0)

    assert (150.0, 157.5) == (deadline.soft, deadline.hard)


def test_a_possible_remaining_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the time had gone before the call came to us."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")

    assert deadline_of(FakeContext(remaining=20_000), now=0.0).soft == 15.0


@pytest.mark.parametrize("timeout", ["", "soon", "-5"], ids=repr)
def test_without_a_usable_time_the_platforms_default_counts(
    timeout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three seconds, of which a quarter is kept for the hand-over."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", timeout)

    assert deadline_of(FakeContext(), now=0.0).soft == 2.25
