"""``topology show``, which needs no broker."""

import json

import pytest
from typer.testing import CliRunner

from handler.cli import app


@pytest.fixture(autouse=True)
def bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set two bindings to a foreign exchange, and one to an exchange of ours."""
    monkeypatch.setenv("SNAPSHOT_BINDINGS", "open[stack]:info,open[stack]:error,snapshots:late")


def test_foreign_exchanges_are_marked_for_people() -> None:
    """The table marks foreign exchanges and their bindings, whatever their names."""
    done = CliRunner().invoke(app, ["topology", "show"], env={"COLUMNS": "160"})

    lines = [line for line in done.stdout.splitlines() if "open[stack]" in line]
    assert (0, 3) == (done.exit_code, len(lines))
    assert all("foreign" in line for line in lines)


def test_foreign_exchanges_are_marked_for_programs() -> None:
    """In JSON each binding says whether its exchange is foreign, and no part says that it was made."""
    document = json.loads(CliRunner().invoke(app, ["topology", "show", "--json"]).stdout)

    assert ["open[stack]"] == document["foreign_exchanges"]
    assert [False, False, False, True, True, False] == [each["foreign"] for each in document["bindings"]]
    assert not any("made" in each for kind in ("exchanges", "queues", "bindings") for each in document[kind])
