"""Tests of a ledger whose thread is stuck in a call that does not return."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from handler.backup.hooks import LedgerCommit
from handler.errors import LedgerUnavailable
from handler.ledger.group import GroupStore
from handler.ledger.reasons import of_sqlite
from handler.telemetry.telemetry import Telemetry
from tests.patience import patient

pytestmark = pytest.mark.anyio

STUCK = 0.4
SOON = 10.0


class _Transaction:
    now = 1.0

    def touch(self) -> None:
        """Write nothing."""


class HangingBackend:
    """A backend whose transactions do not end while ``answers`` is clear, until they are interrupted."""

    longest = STUCK

    def __init__(self, *, interruptible: bool = False) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.interruptible = interruptible
        self.interrupts = self.transactions = 0
        self.hangs = threading.Event()

    @contextmanager
    def transaction(
        self, keys: Sequence[object], copies: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> Iterator[Any]:
        """Run the block, and hang at the commit."""
        self.transactions += 1
        yield _Transaction()
        if not self.answers.is_set():
            self.hangs.set()
        self.answers.wait(30.0)

    def commit_quick(self, changes: Sequence[object]) -> None:
        """Return None, as a backend that has nothing to gain."""

    def interrupt(self) -> None:
        """Let the transaction go on, if that is possible."""
        self.interrupts += 1
        if self.interruptible:
            self.answers.set()

    def stuck(self, seconds: float) -> LedgerUnavailable:
        """Return the error."""
        return of_sqlite(f"no answer of the disk within {seconds:g} s", "/l.db")

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the program uses."""
    return "asyncio"


@pytest.fixture
def backend() -> Iterator[HangingBackend]:
    """A backend that answers at first, and in the end."""
    made = HangingBackend()
    yield made
    made.answers.set()


@asynccontextmanager
async def opened(backend: HangingBackend, notified: list[LedgerCommit]) -> AsyncIterator[GroupStore]:
    """A store over the backend, whose thread has started."""
    store = GroupStore(backend, "test", notified.append)
    await store.check()
    yield store
    await store.aclose()


async def hangs(backend: HangingBackend) -> None:
    """Wait until a transaction hangs."""
    assert await asyncio.to_thread(backend.hangs.wait, SOON)


async def works_again(store: GroupStore) -> None:
    """Wait until a change is committed."""
    ends = time.monotonic() + patient(SOON)
    while True:
        try:
            return await store.check()
        except LedgerUnavailable:
            assert time.monotonic() < ends
            await asyncio.sleep(0.01)


async def test_callers_of_a_stuck_ledger_are_told(backend: HangingBackend) -> None:
    """Those whose change has begun, and those in the queue, get the reason; they do not wait for ever."""
    notified: list[LedgerCommit] = []
    async with opened(backend, notified) as store:
        backend.answers.clear()
        calls = [asyncio.create_task(store.check())]
        await hangs(backend)
        calls += [asyncio.create_task(store.check()) for _ in range(3)]
        async with asyncio.timeout(patient(SOON)):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [LedgerUnavailable] * 4 == [type(each) for each in answers]
        assert "the disk does not answer" in str(answers[0])
        assert (4, True) == (notified[-1].changes, notified[-1].failed)
        assert 4 == len({id(each) for each in answers}), "each caller has an exception of its own"
        backend.answers.set()
        await works_again(store)


async def test_while_it_is_stuck_nothing_is_queued(backend: HangingBackend) -> None:
    """A new caller is told at once, and no change runs later that its caller has given up."""
    async with opened(backend, []) as store:
        backend.answers.clear()
        with pytest.raises(LedgerUnavailable):
            await store.check()
        before = time.monotonic()
        for _ in range(20):
            with pytest.raises(LedgerUnavailable, match="does not answer"):
                await store.check()
        assert time.monotonic() - before < STUCK
        begun = backend.transactions
        backend.answers.set()
        await works_again(store)
        assert begun + 1 == backend.transactions


async def test_what_can_be_interrupted_is(backend: HangingBackend) -> None:
    """The backend is asked once to end the call; then the ledger works again without a new thread."""
    backend.interruptible = True
    async with opened(backend, []) as store:
        backend.answers.clear()
        with pytest.raises(LedgerUnavailable):
            await store.check()
        await works_again(store)
        assert 1 == backend.interrupts


async def test_closing_a_stuck_ledger_ends(backend: HangingBackend) -> None:
    """SIGTERM is honoured: the thread is left behind, and the event loop is not blocked meanwhile."""
    store = GroupStore(backend, "test", lambda _: None)
    await store.check()
    backend.answers.clear()
    call = asyncio.create_task(store.check())
    await hangs(backend)
    before, turns = time.monotonic(), 0
    closing = asyncio.create_task(store.aclose())
    while not closing.done():
        turns += 1
        await asyncio.sleep(0.01)
    assert time.monotonic() - before < patient(1.0 + STUCK)
    assert turns > 3
    backend.answers.set()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_slow_ledger_is_not_stuck(backend: HangingBackend) -> None:
    """A transaction that ends within the time is answered, and no failure is reported."""
    notified: list[LedgerCommit] = []
    async with opened(backend, notified) as store:
        backend.answers.clear()
        call = asyncio.create_task(store.check())
        await asyncio.sleep(STUCK / 4)
        backend.answers.set()
        await call
    assert [False, False] == [each.failed for each in notified]


def test_the_log_says_once_why_the_ledger_fails_and_that_it_works(caplog: pytest.LogCaptureFixture) -> None:
    """The line has reason and remedy; the same failure again has none, another one has."""
    caplog.set_level("INFO")
    telemetry = Telemetry()
    for commit in (
        LedgerCommit(1),
        LedgerCommit(1, failed=True, problem="the disk is full: free space"),
        LedgerCommit(1, failed=True, problem="the disk is full: free space"),
        LedgerCommit(1, failed=True, problem="no answer: check the disk", place="LEDGER_URL: /l.db"),
        LedgerCommit(1),
        LedgerCommit(1),
    ):
        telemetry.committed(commit)
    assert ["ledger.unavailable", "ledger.unavailable", "ledger.available"] == [
        record.action  # type: ignore[attr-defined]  # an extra
        for record in caplog.records
    ]
    assert "LEDGER_URL: the disk is full: free space" == caplog.records[0].message
    assert "LEDGER_URL: /l.db: no answer: check the disk" == caplog.records[1].message
