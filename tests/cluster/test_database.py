"""Something happens to the ledger's database while three workers on a cluster handle hundreds of events.

Dangers: a promise is lost and a snapshot has a second backup, or workers stay idle afterwards.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest

from tests import postgres_pair
from tests.chaos.site import many, wait_for
from tests.cluster.conftest import WORKERS, StartSite
from tests.pgbouncer import Pooler, pooler
from tests.postgres_pair import Pair, go_on, hang

pytestmark = pytest.mark.cluster

EVENTS = 200
ENDED_SECONDS = 150


class Databases(NamedTuple):
    """A primary with its replica, and a PgBouncer before the primary."""

    pair: Pair
    pooler: Pooler


@pytest.fixture
def databases(network: str) -> Iterator[Databases]:
    """Start them, in the network of the cluster."""
    with postgres_pair.pair() as pair, pooler(pair.primary.port) as pooled:
        yield Databases(pair, pooled)


@contextlib.contextmanager
def killed(databases: Databases) -> Iterator[None]:
    """End the primary as in a crash, and start it again."""
    databases.pair.primary.stop()
    yield
    databases.pair.primary.start()


@contextlib.contextmanager
def hung(databases: Databases) -> Iterator[None]:
    """Let every process of the primary stand still; its kernel still takes connections and bytes."""
    hang(databases.pair.primary)
    yield
    go_on(databases.pair.primary)


@contextlib.contextmanager
def paused(databases: Databases) -> Iterator[None]:
    """Pause the pooler: it takes connections and answers no query."""
    databases.pooler.command("PAUSE")
    yield
    databases.pooler.command("RESUME")


@contextlib.contextmanager
def restarted(databases: Databases) -> Iterator[None]:
    """End the pooler with all connections through it, and start it again."""
    databases.pooler.stop()
    yield
    databases.pooler.start()


@contextlib.contextmanager
def failed_over(databases: Databases) -> Iterator[None]:
    """End the primary, and promote its synchronous replica."""
    databases.pair.be_synchronous()
    databases.pair.primary.stop()
    yield
    databases.pair.replica.promote()


@contextlib.contextmanager
def failed_over_and_back(databases: Databases) -> Iterator[None]:
    """Fail over, make the former primary the new one's synchronous replica, and fail over to it."""
    with failed_over(databases):
        pass
    primary, replica = databases.pair.primary, databases.pair.replica
    primary.follow(replica, postgres_pair.REPLICA)
    Pair(replica, primary).be_synchronous()
    replica.stop()
    yield
    primary.promote()


class Fault(NamedTuple):
    """A fault by its name, which lasts for the block and at least ``seconds``. ``pooled``: by the pooler."""

    name: str
    begin: Callable[[Databases], AbstractContextManager[None]]
    seconds: float
    pooled: bool = False

    def url(self, databases: Databases) -> str:
        """Return the ledger's URL."""
        direct = databases.pair.url
        return databases.pooler.url(databases.pair.primary.url()) if self.pooled else direct


FAULTS = (
    Fault("killed", killed, 5.0),
    Fault("hung", hung, 15.0),
    Fault("failed over", failed_over, 1.0),
    Fault("failed over and back", failed_over_and_back, 1.0),
    Fault("pgbouncer restarted", restarted, 2.0, pooled=True),
    Fault("pgbouncer paused", paused, 15.0, pooled=True),
)


@pytest.mark.parametrize("fault", [pytest.param(each, id=each.name.replace(" ", "-")) for each in FAULTS])
def test_nothing_is_lost(start_site: StartSite, databases: Databases, fault: Fault) -> None:
    """No event is lost, no snapshot has a second backup, and events are handled again soon."""
    site = start_site(0, 1, LEDGER_URL=fault.url(databases))
    wait_for(lambda: len(site.working()) == WORKERS, seconds=60, what=site.log_tail)
    site.ask(dict(many(0, EVENTS)))
    with fault.begin(databases):
        time.sleep(fault.seconds)  # the fault's length, no wait for anything
    began = time.monotonic()
    new = dict(many(EVENTS, EVENTS + 10))
    site.ask(new)
    while not new.keys() & site.sink.ended({"backup.accepted"}):
        assert time.monotonic() - began < ENDED_SECONDS, site.log_tail()
        site.sink.poll(0.1)
    again = time.monotonic() - began
    site.wait_until_ended(seconds=ENDED_SECONDS)
    ended = time.monotonic() - began
    site.judge(f"database {fault.name}", again=f"{again:.1f} s", all_ended=f"{ended:.1f} s")
