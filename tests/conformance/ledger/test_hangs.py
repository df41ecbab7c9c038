"""A PostgreSQL that hangs: its processes stand still, while its kernel goes on to acknowledge every byte."""

import asyncio
import time
from collections.abc import Iterator

import psycopg
import pytest

from events.outcome import AcceptedBackup
from handler.backup.ports import Created, Granted, Key
from handler.errors import LedgerUnavailable
from handler.ledger import group, postgres_connection
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger
from tests import postgres_pair
from tests.patience import patient
from tests.postgres_pair import Pair, go_on, hang

pytestmark = pytest.mark.anyio

KEY = Key("project", "snapshot")
QUICK = 1.0
"""The time limit for an answer in these tests, in seconds."""

FEW = 10.0
LESS = 6.0
"""Seconds that a busy machine may add."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A primary and its replica, for the tests of one module."""
    with postgres_pair.pair() as made:
        yield made


@pytest.fixture
def pair(servers: Pair) -> Iterator[Pair]:
    """A primary with an empty database, and its replica; both go on afterwards."""
    servers.primary.emptied("postgres")
    yield servers
    servers.restore()


@pytest.fixture
def own_pair() -> Iterator[Pair]:
    """A primary and its replica for a test that promotes it."""
    with postgres_pair.pair() as made:
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer for a second only."""
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", QUICK)


async def made(ledger: StoredLedger, key: Key = KEY) -> None:
    """Record a backup."""
    claim = await ledger.claim(key, "cause")
    assert isinstance(claim, Granted)
    await ledger.created(claim, AcceptedBackup(id="b1"))


async def fails(ledger: StoredLedger) -> tuple[float, LedgerUnavailable]:
    """Return for how long a claim waited, and its error."""
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable) as caught:
        await ledger.claim(KEY, "cause")
    return time.monotonic() - began, caught.value


async def works_again(ledger: StoredLedger) -> None:
    """Claim until the ledger answers that the backup is made."""
    ends = time.monotonic() + patient(30.0)
    while True:
        try:
            assert isinstance(await ledger.claim(KEY, "cause"), Created)
        except LedgerUnavailable:
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)
        else:
            return


@pytest.mark.usefixtures("quick")
async def test_a_hung_server_is_left_for_the_promoted_one(own_pair: Pair) -> None:
    """The claim fails with the reason. The next connection goes to the other host first, and every promise
    that was replicated is there."""
    own_pair.be_synchronous()
    ledger = open_ledger(own_pair.url, lease_seconds=60)
    await made(ledger)
    hang(own_pair.primary)
    took, error = await fails(ledger)
    assert took < QUICK + patient(FEW)
    assert "does not answer" in error.reason
    own_pair.replica.promote()
    began = time.monotonic()
    await works_again(ledger)
    assert time.monotonic() - began < postgres_connection.DEFAULTS["connect_timeout"], (
        "the hung host was tried"
    )
    await ledger.aclose()


@pytest.mark.usefixtures("quick")
async def test_a_hung_server_that_goes_on_is_used_again(pair: Pair) -> None:
    """The program needs no restart, and the replica, which is read-only, is not written to."""
    ledger = open_ledger(pair.url, lease_seconds=60)
    await made(ledger)
    hang(pair.primary)
    await fails(ledger)
    go_on(pair.primary)
    await works_again(ledger)
    await ledger.aclose()


async def test_the_socket_of_a_stuck_transaction_is_shut_down(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the limit of the ledger's own thread does not hold, the thread that watches it ends the wait."""
    monkeypatch.setattr(postgres_connection.Server, "longest", QUICK)
    ledger = open_ledger(pair.primary.url(), lease_seconds=60)
    await made(ledger)
    hang(pair.primary)
    took, error = await fails(ledger)
    assert took < QUICK + LESS < postgres_connection.ANSWER_SECONDS
    assert "does not answer" in error.reason
    go_on(pair.primary)
    await works_again(ledger)
    await ledger.aclose()


async def test_closing_does_not_wait_for_a_hung_server(pair: Pair) -> None:
    """With a claim under way the ledger is closed within a second, and its socket is shut down."""
    ledger = open_ledger(pair.primary.url(), lease_seconds=60)
    await made(ledger)
    hang(pair.primary)
    claim = asyncio.create_task(ledger.claim(KEY, "cause"))
    await asyncio.sleep(0)
    began = time.monotonic()
    await ledger.aclose()
    assert time.monotonic() - began < group.CLOSE_SECONDS + LESS < postgres_connection.ANSWER_SECONDS
    with pytest.raises(LedgerUnavailable):
        await claim


@pytest.mark.usefixtures("quick")
async def test_a_commit_that_the_standby_does_not_confirm_is_no_promise(pair: Pair) -> None:
    """The ledger is unavailable and says why. The server keeps no connection that waits for the standby:
    there would be one more for each try, until it takes no more."""
    pair.be_synchronous()
    ledger = open_ledger(pair.url, lease_seconds=60)
    await made(ledger)
    hang(pair.replica)
    for number in range(3):
        with pytest.raises(LedgerUnavailable, match="synchronous_standby_names") as caught:
            await ledger.claim(Key("project", f"another-{number}"), "cause")
        assert "does not confirm a commit" in caught.value.reason
    ends = time.monotonic() + patient(FEW)
    while _waiting_for_the_standby(pair):
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)
    go_on(pair.replica)
    await works_again(ledger)
    await ledger.aclose()


def _waiting_for_the_standby(pair: Pair) -> bool:
    with psycopg.connect(pair.primary.url()) as connection:
        found = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        return found.fetchone() != (0,)
