"""The console command as a process: closed and full streams, other encodings, pipes, and Ctrl-C."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
COMMAND = (sys.executable, "-m", "handler")
NOBODY = {"AMQP_URL": "amqp://127.0.0.1:1", "VBS_ENDPOINT": "http://127.0.0.1:1"}
FULL = "failed: the output cannot be written: No space left on device\n"


def environment(**changed: str) -> dict[str, str]:
    """Return the environment of a process; ours may set what changes streams."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return {**inherited, "PYTHONPATH": str(ROOT), **NOBODY, **changed}


def in_shell(line: str, **changed: str) -> tuple[int, str, str]:
    """Run a line of a shell, in which ``$S`` is the command, and return exit code and outputs."""
    done = subprocess.run(
        ["bash", "-c", line.replace("$S", " ".join(COMMAND))],
        env=environment(**changed),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def started(*arguments: str, module: str = "handler", **changed: str) -> Iterator["subprocess.Popen[str]"]:
    """Start the command, and kill it at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment(**changed),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", ["topology show --json", "topology show", "publish --help", "--version"]
)
def test_a_full_disk_is_one_line(arguments: str, unbuffered: str) -> None:
    """If standard output cannot be written, one line says why, and the exit code is 1."""
    assert (1, "", FULL) == in_shell(f"$S {arguments} >/dev/full", PYTHONUNBUFFERED=unbuffered)


@pytest.mark.parametrize(
    ("line", "code", "out"),
    [
        ("$S --version >&-", 0, ""),
        ("$S --version <&- 2>&-", 0, "snapshot-backup 0.1.0\n"),
        ("$S no-such-command 2>&-", 2, ""),
        ("$S topology show <&- >&- 2>&-", 0, ""),
    ],
)
def test_a_closed_stream_changes_nothing_else(line: str, code: int, out: str) -> None:
    """With closed streams the exit code is the same, and no output goes to another stream."""
    assert (code, out) == in_shell(line)[:2]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_our_characters_shows_others(encoding: str) -> None:
    """The doctor's arrows are written as ``->`` where the encoding has none."""
    code, out, error = in_shell("$S doctor", PYTHONIOENCODING=encoding)

    assert (1, "") == (code, error)
    assert "-> AMQP_URL: check host and port" in out


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["emulator --help", "topology show", "topology show --json"])
def test_a_reader_that_ends_early_is_no_traceback(arguments: str, unbuffered: str) -> None:
    """If nobody reads the output, as in ``… | head``, nothing is complained about."""
    code, _, error = in_shell(f"$S {arguments} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=unbuffered)

    assert code in (0, 1)
    assert "" == error


def test_forced_colours_show_no_progress_in_a_pipe() -> None:
    """With FORCE_COLOR, as in many CI systems, standard error has no animation."""
    code, out, error = in_shell("$S doctor --json", FORCE_COLOR="1")

    assert (1, "") == (code, error)
    assert 1 == json.loads(out)["exit"]


def at_terminal(arguments: Sequence[str], **changed: str) -> str:
    """Return what the command shows at a terminal."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], env=environment(**changed), stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        shown = b""
        with suppress(OSError):  # Linux raises EIO when the other side has closed
            while part := os.read(ours, 65_536):
                shown += part
        os.close(ours)
    assert 0 == process.returncode
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("changed", [{"TERM": "xterm"}, {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_the_help_is_the_same_at_a_terminal_and_in_a_pipe(changed: dict[str, str]) -> None:
    """The help at a terminal has neither colours nor boxes, so that it can be copied."""
    help_of = ("dead-letters", "list", "--help")

    assert in_shell(f"$S {' '.join(help_of)}", COLUMNS="80")[1] == at_terminal(
        help_of, COLUMNS="80", **changed
    )


LOADING = """
import time
print("loading", flush=True)
try:
    time.sleep(60)
except BaseException as error:
    raise RuntimeError("a library wraps it") from error
"""


@pytest.mark.parametrize("module", ["pydantic", "typer", "pika"])
def test_ctrl_c_while_the_program_is_loaded_is_one_line(tmp_path: Path, module: str) -> None:
    """Ctrl-C while modules are imported shows no traceback, whatever they make of the exception."""
    (tmp_path / f"{module}.py").write_text(LOADING)
    with started("doctor", module="infra.launcher", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}") as process:
        assert process.stdout is not None
        assert "loading\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=SECONDS)

    assert (-signal.SIGINT, "interrupted\n") == (process.returncode, error)


@pytest.mark.parametrize(
    "arguments",
    [
        "topology declare",
        "dead-letters list --json",
        "dead-letters drop --yes --no-export",
        f"publish --volume-id {uuid.UUID(int=1)} --snapshot-id {uuid.UUID(int=2)}",
        "doctor",
    ],
)
def test_ctrl_c_ends_a_command_that_waits_for_the_broker(arguments: str) -> None:
    """Ctrl-C ends each command by SIGINT, as a shell expects, with one line on standard error."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(SECONDS)
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        with started(*arguments.split(), AMQP_URL=url) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                out, error = process.communicate(timeout=SECONDS)

    assert (-signal.SIGINT, "", "interrupted\n") == (process.returncode, out, error)
