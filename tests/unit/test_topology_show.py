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


def test_a_queue_for_outcomes_is_shown_with_its_binding() -> None:
    """With ``--outcomes-queue`` the document has a quorum queue that is bound for all outcomes."""
    document = json.loads(
        CliRunner().invoke(app, ["topology", "show", "--json", "--outcomes-queue", "results"]).stdout
    )

    [queue] = [each for each in document["queues"] if each["name"] == "results"]
    [binding] = [each for each in document["bindings"] if each["destination"] == "results"]
    assert "quorum" == queue["arguments"]["x-queue-type"]
    assert ("backups", "backup.*") == (binding["source"], binding["routing_key"])


@pytest.mark.parametrize(
    "name",
    ["snapshot-backup", "snapshot-backup.dead", "snapshot-backup.wait.5s", "snapshot-backup.wait.7s",
     "snapshot-backup.wait.outcomes", "", " ", "amq.mine", "x" * 256, "a\nb", "a\x1b[31mb"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["show", "declare"])
def test_a_queue_for_outcomes_cannot_have_any_name(command: str, name: str) -> None:
    """One of our own names, a reserved, empty or long one is a usage error with an example."""
    done = CliRunner().invoke(app, ["topology", command, "--outcomes-queue", name])

    [line] = done.stderr.splitlines()
    assert (2, True) == (done.exit_code, line.startswith("--outcomes-queue: "))
    assert line.endswith("such as --outcomes-queue outcomes")


def test_foreign_exchanges_are_marked_for_programs() -> None:
    """In JSON each binding says whether its exchange is foreign, and no part says that it was made."""
    document = json.loads(CliRunner().invoke(app, ["topology", "show", "--json"]).stdout)

    assert ["open[stack]"] == document["foreign_exchanges"]
    assert [False, False, False, True, True, False] == [each["foreign"] for each in document["bindings"]]
    assert not any("made" in each for kind in ("exchanges", "queues", "bindings") for each in document[kind])
