"""Worker processes that are executed: real ones, without a worker's parts."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from handler.supervisor import restarts
from handler.supervisor.child import Child, Membership, this_program
from handler.supervisor.supervisor import Supervisor
from tests.conftest import ROOT
from tests.patience import patient


def _open_files() -> set[Path]:
    return set(Path("/dev/fd").iterdir())


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def command(kind: str) -> Sequence[str]:
    """Return the command of a small worker."""
    return sys.executable, "-m", "tests.unit.supervisor.small_worker", kind


def test_a_process_serves_over_the_channel_until_sigterm() -> None:
    """It is another process, which answers, and ends orderly."""

    async def work() -> int:
        async with asyncio.timeout(patient(30)):
            child = await Child.start(1, command("serves"))
            assert (True, False) == (child.pid != os.getpid(), child.begun)
            assert await child.ask("/healthz")
            assert child.begun
            child.send(signal.SIGTERM)
            return await child.ended()

    assert 0 == asyncio.run(work())


def test_a_process_ends_orderly_when_the_channel_ends() -> None:
    """So it notices that its supervisor was killed, whatever killed it."""

    async def work() -> int:
        async with asyncio.timeout(patient(30)):
            child = await Child.start(1, command("serves"))
            assert await child.ask("/healthz")
            await child._channel.close()
            return await child.ended()

    assert 0 == asyncio.run(work())


def test_a_second_process_does_not_keep_the_first_one_s_channel_open() -> None:
    """A process inherits its own end of its own channel, and nothing else."""

    async def work() -> tuple[int, int]:
        async with asyncio.timeout(patient(30)):
            first = await Child.start(1, command("serves"))
            second = await Child.start(2, command("serves"))
            assert all(await asyncio.gather(first.ask("/healthz"), second.ask("/healthz")))
            await first._channel.close()
            code = await first.ended()
            second.send(signal.SIGKILL)
            return code, await second.ended()

    assert (0, -signal.SIGKILL) == asyncio.run(work())


def test_a_signal_to_a_process_that_has_ended_is_no_error() -> None:
    """It may end by itself at the moment of the stop."""

    async def work() -> int:
        async with asyncio.timeout(patient(30)):
            child = await Child.start(1, command("crashes"))
            code = await child.ended()
            child.send(signal.SIGTERM)
            return code

    assert 1 == asyncio.run(work())


def test_a_program_that_does_not_exist_is_an_error_of_the_system() -> None:
    """The supervisor tries again; nothing stays open."""

    async def work() -> None:
        before = _open_files()
        with pytest.raises(FileNotFoundError):
            await Child.start(1, ["/nowhere/python"])
        assert before == _open_files()

    asyncio.run(work())


def test_a_process_that_crashes_at_its_start_is_started_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rng: Random
) -> None:
    """The waits grow while it crashes again and again."""
    monkeypatch.setattr(restarts, "_FIRST_SECONDS", 0.01)
    caplog.set_level(logging.WARNING)

    async def work() -> int:
        supervisor = Supervisor(
            1, lambda number: Child.start(number, command("crashes")), drain_seconds=0.0, rng=rng
        )
        async with asyncio.timeout(patient(60)):
            running = asyncio.create_task(supervisor.run())
            while supervisor.restarts < 5:  # noqa: ASYNC110 - it counts, and tells nobody
                await asyncio.sleep(0.01)
            supervisor.stop()
            return await running

    assert 0 == asyncio.run(work())
    waits = [float(record.args[3]) for record in caplog.records if isinstance(record.args, tuple)]  # type: ignore[arg-type]
    assert 5 == len(waits)
    assert all(first <= second for first, second in pairwise(waits))
    assert all("worker 1 ended with exit code 1 after" in message for message in caplog.messages)


def test_a_membership_is_read_as_it_is_written() -> None:
    """The option of a worker's command line has number and socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        membership = Membership(3, theirs.fileno(), "ab12")
        assert membership == Membership.parse(str(membership))


@pytest.mark.parametrize("text", ["", "3", "3:", "3:4", "x:7:ab", "3:1000000:ab"])
def test_a_membership_without_its_socket_is_refused(text: str) -> None:
    """An option that was copied from a list of processes starts no worker that no supervisor asks."""
    with pytest.raises(ValueError, match=r"invalid literal|no such socket is open|not enough values"):
        Membership.parse(text)


@pytest.mark.parametrize(
    ("given", "arguments", "program"),
    [
        (["python3", "-m", "handler", "worker", "--processes", "2"], 3, ["-m", "handler"]),
        (
            ["python3", "-X", "dev", "/bin/snapshot-backup", "worker"],
            1,
            ["-X", "dev", "/bin/snapshot-backup"],
        ),
        (["python3", "-I", "-c", "code"], 0, ["-I", "-c", "code"]),
    ],
)
def test_a_worker_is_started_as_its_supervisor_was(
    monkeypatch: pytest.MonkeyPatch, given: list[str], arguments: int, program: list[str]
) -> None:
    """By the same interpreter with its options, and the same script or module."""
    monkeypatch.setattr(sys, "orig_argv", given)
    monkeypatch.setattr(sys, "argv", ["x", *given[len(given) - arguments :]])
    assert [sys.executable, *program] == list(this_program())
