"""Tests of how ``waiting retry-now`` and ``cancel`` are called."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app

SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"


@pytest.mark.parametrize(
    "arguments",
    ["", f"{SNAPSHOT} --all", "--all --reason track", f"--reason track {SNAPSHOT}", "--project p"],
)
def test_one_way_to_choose_is_needed(arguments: str) -> None:
    """Nothing at all is not everything, and two ways to choose are a mistake."""
    done = CliRunner().invoke(app, ["waiting", "retry-now", *arguments.split()])
    assert (2, True) == (done.exit_code, "one of the three" in done.stderr)


def test_an_unknown_reason_is_refused() -> None:
    """A mistyped reason would choose nothing."""
    done = CliRunner().invoke(app, ["waiting", "retry-now", "--reason", "pausd"])
    assert (2, True) == (done.exit_code, "paused" in done.stderr)


@pytest.mark.parametrize("arguments", ["retry-now --all", f"cancel --yes {SNAPSHOT}"])
def test_without_a_ledger_nothing_is_known_to_wait(
    arguments: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command says that no waiting message is recorded, and does not connect to the broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_URL", "none")
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/")
    done = CliRunner().invoke(app, ["waiting", *arguments.split()])
    assert (2, True) == (done.exit_code, "no waiting message is recorded" in done.stderr)
