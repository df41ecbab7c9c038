"""A replay at a terminal: confirmation, progress bar and Ctrl-C."""

import json
import os
import pty
import re
import signal

import pytest

from tests.integration.dead_letters.place import PROJECT, Place, dead_headers, event, snapshot_id

pytestmark = pytest.mark.broker


def dead_letter(place: Place, count: int) -> None:
    """Publish so many dead letters."""
    place.dead_letter([(event(n), dead_headers(n)) for n in range(count)])


def on_terminal(place: Place, *arguments: str, answer: str, columns: int = 160) -> tuple[int, str]:
    """Run a command at a terminal, answer its question, and return its exit code and what was shown."""
    ours, its = pty.openpty()
    place.settings["TERM"] = "xterm"
    place.settings["COLUMNS"] = str(columns)
    with place.popen(*arguments, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while part := _read(ours):
            if b"[y/N]" in part:
                os.write(ours, f"{answer}\n".encode())
            shown += part
        os.close(ours)
    return process.wait(), shown.decode()


def test_ctrl_c_at_the_question_ends_the_command(place: Place) -> None:
    """Ctrl-C at the question ends the command at once, and moves nothing."""
    dead_letter(place, 2)
    ours, its = pty.openpty()
    with place.popen("replay", stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while part := _read(ours):
            shown += part
            if b"[y/N]" in part:
                process.send_signal(signal.SIGINT)
        os.close(ours)

    assert (-signal.SIGINT, 2) == (process.returncode, place.count(place.topology.dead))
    assert shown.endswith(b"interrupted\r\n")
    assert b"Traceback" not in shown


NO_OUTCOMES = {"accepted": 0, "completed": 0, "failed": 0, "skipped": 0}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("replay",), {"end": "done", "replayed": 2, **NO_OUTCOMES, "unfinished": 2}),
        (("drop", "--no-export"), {"dropped": 2, "file": None}),
    ],
)
def test_with_json_the_plan_and_the_question_leave_standard_output_alone(
    place: Place, command: tuple[str, ...], expected: dict[str, object]
) -> None:
    """With --json and without --yes, standard output is one JSON document; the plan is on standard error."""
    dead_letter(place, 2)
    ours, its = pty.openpty()
    with place.popen(*command, "--json", stdin=its) as process:
        os.close(its)
        os.write(ours, b"y\n")
        out, error = process.communicate(timeout=60)
        os.close(ours)

    assert (0, expected) == (process.returncode, json.loads(out))
    assert "2 dead letters" in error


def test_without_dead_letters_json_is_a_document_too(place: Place) -> None:
    """If nothing matches, --json prints a document with zeros."""
    nothing = {"end": "done", "replayed": 0, **NO_OUTCOMES, "unfinished": 0}
    assert nothing == place.json("replay", "--yes")
    assert {"dropped": 0, "file": None} == place.json("drop", "--yes", "--no-export")
    assert {"messages": [], "groups": [], "total": 0} == place.json("list")


def test_the_list_at_80_columns_shows_whole_ids(place: Place) -> None:
    """At a terminal of 80 columns each dead letter has two lines, which show its ids whole."""
    dead_letter(place, 1)
    _, shown = on_terminal(place, "list", answer="", columns=80)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.replace("\r\n", "\n")).splitlines()
    [row] = [number for number, line in enumerate(lines) if line.startswith("quota ")]
    identity = place.json("list")["messages"][0]["id"]

    assert lines[row].startswith(f"quota     {identity}  ")
    assert f"  {snapshot_id(0)}  {PROJECT}" == lines[row + 1]
    assert [] == [line for line in lines if len(line) > 80]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux raises EIO when the other side has closed
        return b""


def test_a_replay_shows_its_plan_and_asks_before_it_acts(place: Place) -> None:
    """After the answer no, the replay moves nothing."""
    dead_letter(place, 3)

    code, shown = on_terminal(place, "replay", answer="n")

    assert (1, 3) == (code, place.count(place.topology.dead))
    assert "Replay 3 dead letters?" in shown
    assert "quota" in shown


def test_the_progress_bar_shows_read_left_replayed_and_failed_messages(place: Place) -> None:
    """The progress bar shows all counts while the replay runs."""
    dead_letter(place, 30)

    code, shown = on_terminal(place, "replay", "--rate", "20", answer="y")

    assert (0, 30) == (code, place.count(place.topology.queue))
    assert all(word in shown for word in ("read", " left:", " replayed, ", "/s, ", " 0 failed"))


def test_a_replay_stopped_by_ctrl_c_continues_in_the_next_run(place: Place) -> None:
    """Ctrl-C finishes the messages in flight, and the next run replays the rest."""
    dead_letter(place, 300)
    with place.popen("replay", "--yes", "--rate", "100") as process:
        place.until(lambda: place.count(place.topology.queue) > 0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()

    sent = place.count(place.topology.queue)
    place.json("replay", "--yes")
    found = [json.loads(body)["id"] for body, _ in place.take(place.topology.queue)]

    assert (1, True) == (process.returncode, "run the command again to continue" in said)
    assert 0 < sent < 300
    assert [f"event-{number}" for number in range(300)] == found
