"""Ledgers that several processes share, and processes that are killed."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import PIPE

import pytest

from handler.backup.ports import Key
from handler.ledger.row import RowState
from handler.ledger.stores import open_ledger
from tests.piped import Piped, popen

pytestmark = pytest.mark.anyio

KEYS = 200


class Racer:
    """A process that uses the ledger; see ``racer``."""

    def __init__(self, process: Piped) -> None:
        self.process = process

    def go(self) -> None:
        """Let the process begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def says(self) -> str:
        """Wait for a line of its output; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def rest(self) -> list[str]:
        """Wait for its end and return the rest of its output."""
        return self.process.communicate(timeout=60)[0].split()


def program(*arguments: str) -> Piped:
    """Start a process."""
    module = "tests.conformance.ledger.racer"
    return popen(*arguments, module=module, environment=os.environ, stdin=PIPE, stderr=2)


@contextmanager
def racer(url: str, work: str, count: int) -> Iterator[Racer]:
    """Start a process, and wait until it has opened the ledger."""
    with program(url, work, str(count)) as process:
        try:
            started = Racer(process)
            assert started.says() == "ready"
            yield started
        finally:
            process.kill()


def test_one_of_two_processes_gets_each_key(shared_url: str) -> None:
    """Two processes race for two hundred keys: each key is granted exactly once."""
    with ExitStack() as stack:
        racers = [stack.enter_context(racer(shared_url, "claim", KEYS)) for _ in range(2)]
        for each in racers:
            each.go()
        granted = Counter(number for each in racers for number in each.rest())
    assert Counter({str(number): 1 for number in range(KEYS)}) == granted


async def test_killed_process_leaves_its_promises(shared_url: str) -> None:
    """A process is killed in the middle of its work: every promise that returned is in the ledger."""
    with racer(shared_url, "make", 100_000) as victim:
        victim.go()
        said = [victim.says() for _ in range(100)]
        victim.process.kill()
        said += victim.rest()
    ledger = open_ledger(shared_url, lease_seconds=60)
    rows = [await ledger.look_up(Key("p", number)) for number in said]
    await ledger.aclose()
    assert {RowState.CREATED} == {row and row.state for row in rows}


def test_processes_may_start_together(shared_url: str) -> None:
    """Workers that start without a ledger create one schema together, and none fails."""
    with ExitStack() as stack:
        starts = [stack.enter_context(program(shared_url, "claim", "1")) for _ in range(4)]
        said = [start.communicate("go\n", timeout=60)[0].split() for start in starts]
    assert Counter({"ready": 4, "0": 1}) == Counter(word for words in said for word in words)


def test_processes_that_start_together_have_one_state_key(shared_url: str) -> None:
    """Three ask an empty ledger for the key of waiting messages at the same time."""
    with ExitStack() as stack:
        racers = [stack.enter_context(racer(shared_url, "state_key", 1)) for _ in range(3)]
        for each in racers:
            each.go()
        keys = [key for each in racers for key in each.rest()]
    assert [64, 64, 64] == [len(key) for key in keys]
    assert 1 == len(set(keys))
