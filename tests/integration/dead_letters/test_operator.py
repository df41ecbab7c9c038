"""A replay at a terminal: confirmation, progress bar and Ctrl-C."""

import json
import os
import pty
import signal
import subprocess

import pytest

from tests.integration.dead_letters.place import Place, dead_headers, event

pytestmark = pytest.mark.broker


def dead_letter(place: Place, count: int) -> None:
    """Publish so many dead letters."""
    place.dead_letter([(event(n), dead_headers(n)) for n in range(count)])


def on_terminal(place: Place, *arguments: str, answer: str) -> tuple[int, str]:
    """Run a command at a terminal, answer its question, and return its exit code and what was shown."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        place.command(*arguments),
        env={**place.environment, "TERM": "xterm", "COLUMNS": "160"},
        cwd=place.folder,
        stdin=its,
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        shown = b""
        while part := _read(ours):
            if b"[y/N]" in part:
                os.write(ours, f"{answer}\n".encode())
            shown += part
        os.close(ours)
    return process.returncode, shown.decode()


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
    with subprocess.Popen(
        place.command("replay", "--yes", "--rate", "100"),
        env=place.environment,
        cwd=place.folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        place.until(lambda: place.count(place.topology.queue) > 0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()

    sent = place.count(place.topology.queue)
    place.json("replay", "--yes")
    found = [json.loads(body)["id"] for body, _ in place.take(place.topology.queue)]

    assert (1, True) == (process.returncode, "run the command again to continue" in said)
    assert 0 < sent < 300
    assert [f"event-{number}" for number in range(300)] == found
