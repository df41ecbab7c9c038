"""An asynchronous replica is promoted that lacks the last commits of its primary.

Danger: the ledger has forgotten a claim, and lets a second backup be made.
"""

import asyncio
import logging
import time
from collections.abc import Iterator

import psycopg
import pytest

from events.outcome import AcceptedBackup
from handler.backup.ports import Created, Granted, Key
from handler.errors import LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from handler.ledger.postgres_timeline import CAUTION_SECONDS
from handler.ledger.stores import open_ledger
from tests import postgres_pair
from tests.patience import patient
from tests.pgbouncer import Pooler, pooler
from tests.postgres_pair import Pair

pytestmark = pytest.mark.anyio

KNOWN, LOST, NEW = (Key("project", name) for name in ("known", "lost", "new"))


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and its asynchronous replica."""
    with postgres_pair.pair() as made:
        yield made


@pytest.fixture
def pooled(pair: Pair) -> Iterator[Pooler]:
    """A PgBouncer that leads to the primary."""
    with pooler(pair.primary.port) as made:
        yield made


async def made(ledger: StoredLedger, key: Key) -> None:
    """Record a backup."""
    claim = await ledger.claim(key, "cause")
    assert isinstance(claim, Granted)
    assert not claim.ask_first
    await ledger.created(claim, AcceptedBackup(id=key.snapshot_id))


async def granted(ledger: StoredLedger, key: Key) -> Granted:
    """Claim a snapshot that the ledger does not know, also over a connection that was lost."""
    ends = time.monotonic() + patient(30.0)
    while True:
        try:
            claim = await ledger.claim(key, "another cause")
        except LedgerUnavailable:
            assert time.monotonic() < ends
            await asyncio.sleep(0.1)
        else:
            assert isinstance(claim, Granted)
            return claim


async def test_what_a_promoted_replica_lacks_is_looked_up(
    pair: Pair, pooled: Pooler, caplog: pytest.LogCaptureFixture
) -> None:
    """For an hour after a promotion, workers look an unknown snapshot up before they send a request for it.

    What the replica knows needs no lookup. One worker logs the promotion; one has a pooler that follows it.
    """
    one = open_ledger(pair.url, lease_seconds=60)
    two = open_ledger(pooled.url(pair.primary.url()), lease_seconds=60)
    await made(one, KNOWN)
    await made(two, Key("project", "another"))
    pair.wait_until_replayed()
    pair.cut()
    await made(one, LOST)
    pair.primary.stop()
    pair.replica.promote()
    pooled.lead_to(pair.replica.port)
    with caplog.at_level(logging.WARNING):
        assert (await granted(one, LOST)).ask_first
        assert (await granted(two, NEW)).ask_first
        # On a connection that knows the new timeline, too.
        assert (await granted(one, Key("project", "newer"))).ask_first
        assert (await granted(two, Key("project", "newest"))).ask_first
    assert 1 == [getattr(each, "action", "") for each in caplog.records].count("ledger.promoted")
    assert isinstance(await one.claim(KNOWN, "cause"), Created)
    with psycopg.connect(pair.replica.url()) as connection:
        connection.execute("UPDATE snapshot_backup_timeline SET since = since - %s", (CAUTION_SECONDS,))
    later = open_ledger(pair.url, lease_seconds=60)
    assert not (await granted(later, Key("project", "later"))).ask_first
    for each in (one, two, later):
        await each.aclose()
