"""``topology show``, which needs no broker."""

import json

import pytest
from typer.testing import CliRunner

from handler.cli import app


@pytest.fixture(autouse=True)
def bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bindings to an exchange of somebody else's, one to an exchange of ours."""
    monkeypatch.setenv("SNAPSHOT_BINDINGS", "open[stack]:info,open[stack]:error,snapshots:late")


def test_foreign_exchanges_are_marked_for_people() -> None:
    """What is never declared is told from what is ours, whatever its name."""
    done = CliRunner().invoke(app, ["topology", "show"], env={"COLUMNS": "160"})

    lines = [line for line in done.stdout.splitlines() if "open[stack]" in line]
    assert (0, 3) == (done.exit_code, len(lines))
    assert all("foreign" in line for line in lines)


def test_foreign_exchanges_are_marked_for_programs() -> None:
    """Each binding says whether its exchange is somebody else's; nothing says that it was made."""
    document = json.loads(CliRunner().invoke(app, ["topology", "show", "--json"]).stdout)

    assert ["open[stack]"] == document["foreign_exchanges"]
    assert [False, False, False, True, True, False] == [each["foreign"] for each in document["bindings"]]
    assert not any("made" in each for kind in ("exchanges", "queues", "bindings") for each in document[kind])
