"""A ledger that hangs, dies or fails over: PostgreSQL with a replica, and SQLite on a disk that hangs.

Danger: the worker waits for ever and says that it is ready, or a promise is lost on the way.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.emulator.testing import Emulator
from infra.local.server import free_ports
from tests import postgres, postgres_pair
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.hanging_disk import HangingDisk
from tests.patience import patient
from tests.postgres_pair import Pair, go_on, hang

pytestmark = pytest.mark.broker

DRAIN = 2.0
EXIT_SECONDS = 1.0
"""Seconds that a worker may take to close and exit, after the drain."""

GONE_ON = 15.0
"""Seconds from the hang or death of the primary until events end again; the replica is promoted after one."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary and its replica."""
    with postgres_pair.pair() as made:
        yield made


@pytest.fixture
def database() -> Iterator[postgres.Server]:
    """A server that a test may let hang."""
    with postgres.server() as made:
        yield made
        go_on(made)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[HangingDisk]:
    """A disk that can hang."""
    made = HangingDisk(tmp_path)
    yield made
    made.go_on()


def started(site: Site, count: int = 1) -> list[int]:
    """Start workers, and return the ports of their pages once they are ready."""
    ports = free_ports(count)
    for port in ports:
        site.start_worker(HTTP_ADDRESS=f"127.0.0.1:{port}")
    wait_for(lambda: all(ready(port)["ready"] for port in ports), seconds=30, what=site.log_tail)
    return ports


def all_in_hand(site: Site, fault: Callable[[], None]) -> None:
    """Break the ledger, and let a worker take twenty messages that then wait for it."""
    site.ask(dict(many(0, 1)))  # the first delivery of a connection is handled alone
    site.wait_until_ended(seconds=30)
    fault()
    site.ask(dict(many(1, 21)))
    wait_for(lambda: site.counts()[site.name] == 0, seconds=10, what=site.counts)


def ready(port: int) -> dict[str, Any]:
    """Return the document of /readyz."""
    url = f"http://127.0.0.1:{port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as answer:
        with answer:
            return dict(json.load(answer))
    except OSError:
        return {"ready": False}


def fails_over(site: Site, pair: Pair, fault: Callable[[Pair], None], *, events: int) -> float:
    """Break the primary among events, promote the replica; return when the first event after it has ended."""
    site.ask(dict(many(0, events)))
    site.wait_until_ended(seconds=60)
    began = time.monotonic()
    site.ask(dict(many(events, 2 * events)))
    fault(pair)
    pair.replica.promote()
    site.ask(dict(many(2 * events, 2 * events + 1)))
    last = {each for each, _ in many(2 * events, 2 * events + 1)}
    site.wait_until_ended(seconds=4 * GONE_ON, events=last)
    took = time.monotonic() - began
    site.wait_until_ended(seconds=60)
    return took


def test_a_hung_database_is_left_for_its_replica(make_site: MakeSite, amqp_url: str, pair: Pair) -> None:
    """Events end again within 15 s, none is lost, no snapshot has a second backup."""
    pair.be_synchronous()
    site = make_site(amqp_url, LEDGER_URL=pair.url)
    started(site)
    took = fails_over(site, pair, lambda pair: hang(pair.primary), events=5)
    assert took < patient(GONE_ON)
    site.judge("hung, failed over", took=f"{took:.1f} s")


def test_sigterm_is_honoured_while_the_database_hangs(
    make_site: MakeSite, amqp_url: str, database: postgres.Server
) -> None:
    """The worker ends within ``DRAIN_SECONDS`` and a second, with messages in hand that wait for the ledger.

    The next worker finishes their events.
    """
    site = make_site(amqp_url, LEDGER_URL=database.url(), DRAIN_SECONDS=f"{DRAIN:g}")
    started(site)
    all_in_hand(site, lambda: hang(database))
    took = site.stop()
    assert took < DRAIN + patient(EXIT_SECONDS)
    go_on(database)
    started(site)
    site.wait_until_ended(seconds=60)
    site.judge("SIGTERM while the database hangs", took=f"{took:.1f} s")


def test_a_disk_that_hangs_is_said_at_once(make_site: MakeSite, amqp_url: str, disk: HangingDisk) -> None:
    """Log and /readyz say within seconds that the disk does not answer, and what to do.

    The worker goes on by itself once the disk answers; no event is lost.
    """
    site = make_site(amqp_url, **disk.environment)
    [port] = started(site)
    disk.hang()
    site.ask(dict(many(0, 20)))
    took = wait_for(
        lambda: "the disk does not answer: check" in ready(port)["ledger"],
        seconds=10,
        what=lambda: f"{ready(port)} {site.log_tail()}",
    )
    assert "ledger.unavailable" in site.log_tail(50)
    disk.go_on()
    site.wait_until_ended(seconds=60)
    wait_for(lambda: ready(port)["ready"], seconds=30, what=lambda: ready(port))
    assert "ledger.available" in site.log_tail(50)
    site.judge("disk that hangs", said_after=f"{took:.1f} s")


def test_sigterm_is_honoured_while_the_disk_hangs(
    make_site: MakeSite, amqp_url: str, disk: HangingDisk
) -> None:
    """A thread that is stuck in a write cannot be cancelled: the process ends without it, in time."""
    site = make_site(amqp_url, DRAIN_SECONDS=f"{DRAIN:g}", **disk.environment)
    started(site)
    all_in_hand(site, disk.hang)
    took = site.stop()
    assert took < DRAIN + patient(EXIT_SECONDS)
    disk.go_on()
    started(site)
    site.wait_until_ended(seconds=60)
    site.judge("SIGTERM while the disk hangs", took=f"{took:.1f} s")


@pytest.mark.chaos
@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("kind", ["hung", "killed"])
def test_three_workers_survive_a_failover(
    make_site: MakeSite, amqp_url: str, pair: Pair, kind: str, synchronous: bool
) -> None:
    """The primary hangs or dies among hundreds of events, and the replica is promoted."""
    if synchronous:
        pair.be_synchronous()
    site = make_site(amqp_url, LEDGER_URL=pair.url)
    started(site, 3)
    fault = (lambda pair: hang(pair.primary)) if kind == "hung" else (lambda pair: pair.primary.stop())
    took = fails_over(site, pair, fault, events=200)
    assert took < patient(GONE_ON)
    site.judge(f"{kind}, {'synchronous' if synchronous else 'asynchronous'}", took=f"{took:.1f} s")


@pytest.mark.chaos
def test_commits_that_a_replica_never_got_cost_no_second_backup(
    make_site: MakeSite, amqp_url: str, pair: Pair, emulator: Emulator
) -> None:
    """An asynchronous replica is promoted that lacks the last commits: the messages know what was made."""
    site = make_site(amqp_url, LEDGER_URL=pair.url, TRACK_BACKUPS="true")
    started(site, 3)
    site.ask(dict(many(0, 100)))
    site.wait_until_ended(seconds=90)
    hang(pair.replica)
    site.ask(dict(many(100, 200, size_gb=4)))
    wait_for(lambda: len(emulator.backups()) == 200, seconds=60, what=site.counts)
    pair.primary.stop()
    go_on(pair.replica)
    pair.replica.promote()
    took = site.wait_until_ended(seconds=120)
    site.judge("commits lost with the primary", took=f"{took:.1f} s")


@pytest.mark.chaos
def test_an_event_that_is_sent_again_after_its_commits_were_lost_makes_no_second_backup(
    make_site: MakeSite, amqp_url: str, pair: Pair
) -> None:
    """Events have ended, and the promoted replica lacks their commits: sent again, each finds its backup."""
    site = make_site(amqp_url, LEDGER_URL=pair.url)
    started(site, 3)
    site.ask(dict(many(0, 20)))
    site.wait_until_ended(seconds=60)
    pair.wait_until_replayed()
    pair.cut()
    lost = dict(many(20, 120))
    site.ask(lost)
    site.wait_until_ended(seconds=60)
    pair.primary.stop()
    pair.replica.promote()
    site.ask(lost)
    tally = site.judge("sent again after lost commits")
    assert len(lost) == tally.counts["recovered"]
