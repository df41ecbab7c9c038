"""Something happens to the nodes or the topology of a cluster while three workers handle hundreds of events.

Dangers: an event is lost, a snapshot has a second backup, or an event two outcomes; or workers stay idle.
"""

import time
from typing import NamedTuple

import pytest
from pika.exceptions import ChannelClosedByBroker

from tests.chaos.site import Site, many, wait_for
from tests.cluster import faults
from tests.cluster.conftest import WORKERS, StartSite
from tests.cluster.faults import FAULTS, LEADER, Fault
from tests.cluster.nodes import NAMES, Cluster

pytestmark = pytest.mark.cluster

EVENTS = 300
AGAIN_SECONDS = 60
"""More than the seconds that are aimed at: the machine may be busy."""
ENDED_SECONDS = 150


class Measured(NamedTuple):
    """Seconds until a new event is confirmed to its producer, until one is accepted, until all have ended."""

    confirmed: float
    again: float
    ended: float


def _working(site: Site) -> None:
    wait_for(lambda: len(site.working()) == WORKERS, seconds=60, what=site.log_tail)


def _takes_events(site: Site) -> bool:
    """Return whether the exchange exists that events are published to; a producer tries until it does."""
    try:
        site.rabbit.insist(lambda channel: channel.exchange_declare(f"{site.name}.in", passive=True))
    except ChannelClosedByBroker:
        return False
    return True


def _accepted(site: Site, first: int, *, seconds: float = AGAIN_SECONDS) -> tuple[float, float]:
    """Publish an event and nine more; return after how many seconds it is confirmed, and one is accepted.

    A broker whose queue has lost its leader may confirm late: no worker can have the event before.
    """
    events = dict(many(first, first + 10))
    began = time.monotonic()
    wait_for(lambda: _takes_events(site), seconds=seconds, what=site.log_tail)
    site.ask(dict(many(first, first + 1)))
    confirmed = time.monotonic() - began
    site.ask(dict(many(first + 1, first + 10)))
    while not events.keys() & site.sink.ended({"backup.accepted"}):
        assert time.monotonic() - began < seconds, site.log_tail()
        site.sink.poll(0.1)
    return confirmed, time.monotonic() - began


def _measure(site: Site, cluster: Cluster, fault: Fault) -> Measured:
    """Let the fault happen, and return the seconds until events are confirmed, accepted, and have ended."""
    with fault.begin(cluster, site):
        began = time.monotonic()
        if fault.served:
            confirmed, again = _accepted(site, EVENTS)
            site.wait_until_ended(seconds=ENDED_SECONDS)
            ended = time.monotonic() - began
        else:
            time.sleep(fault.seconds)  # the fault's length, no wait for anything
    if not fault.served:
        began = time.monotonic()
        confirmed, again = _accepted(site, EVENTS)
        site.wait_until_ended(seconds=ENDED_SECONDS)
        ended = time.monotonic() - began
    # What the broker held back meanwhile comes back now, beside what the ledger has replaced.
    site.ask(dict(many(2 * EVENTS, 2 * EVENTS + 10)))
    site.wait_until_ended(seconds=ENDED_SECONDS)
    return Measured(confirmed, again, ended)


@pytest.mark.parametrize(
    ("cluster", "fault"),
    [pytest.param(each.handling, each, id=each.name.replace(" ", "-")) for each in FAULTS],
    indirect=["cluster"],
)
def test_nothing_is_lost(start_site: StartSite, cluster: Cluster, network: str, fault: Fault) -> None:
    """No event is lost, no snapshot has a second backup, and events are handled again soon."""
    if fault.partition and network:
        pytest.skip(network)
    at = (fault.leader + 1) % 3
    site = start_site(fault.leader, at)
    _working(site)
    site.ask(dict(many(0, EVENTS)))
    assert NAMES[fault.leader] == cluster.leader(site.name, ask=at)
    measured = _measure(site, cluster, fault)
    confirmed, again, ended = (f"{seconds:.1f} s" for seconds in measured)
    site.judge(fault.name, confirmed=confirmed, again=again, all_ended=ended)


@pytest.mark.parametrize("how", ["down", "silent"])
def test_a_worker_starts_where_the_first_address_does_not_answer(
    start_site: StartSite, cluster: Cluster, how: str
) -> None:
    """One node is down, or takes connections and says nothing: three workers start and handle all events."""
    site = start_site(1, 2, workers=0)
    node = faults.killed([0], cluster, site) if how == "down" else faults.paused(cluster, site)
    with node:
        began = time.monotonic()
        for _ in range(WORKERS):
            site.start_worker()
        _working(site)
        working = time.monotonic() - began
        site.ask(dict(many(0, EVENTS)))
        ended = site.wait_until_ended(seconds=ENDED_SECONDS)
    site.judge(f"first address {how}", working=f"{working:.1f} s", all_ended=f"{ended:.1f} s")


def test_a_rolling_restart_loses_nothing(start_site: StartSite, cluster: Cluster) -> None:
    """If each node is restarted in turn under load, no event is lost."""
    site = start_site(0, 0)
    _working(site)
    again = []
    for number, node in enumerate(cluster.nodes):
        first = 1000 * number
        site.ask(dict(many(first, first + EVENTS // 3)))
        node.stop()
        if number:  # the test's own connection is at the first node
            again.append(_accepted(site, first + EVENTS)[1])
        faults.start(cluster, [number])
    ended = site.wait_until_ended(seconds=ENDED_SECONDS)
    seconds = ", ".join(f"{each:.1f} s" for each in again)
    site.judge("rolling restart", again=seconds, all_ended=f"{ended:.1f} s")


def test_a_replay_survives_the_death_of_the_leader(start_site: StartSite, cluster: Cluster) -> None:
    """The leader of all queues is killed during a replay: each dead letter is replayed, none is lost."""
    site = start_site(LEADER, 1)
    _working(site)
    site.emulator.set_faults([{"route": "create", "effect": "status", "status": 400, "body": _REFUSED}])
    site.ask(dict(many(0, EVENTS)))
    site.wait_until_ended(seconds=ENDED_SECONDS)
    dead = site.queues[-1]
    wait_for(lambda: site.rabbit.count(dead) == EVENTS, seconds=60, what=site.counts)
    site.emulator.clear_faults()
    began = time.monotonic()
    replay = site.begin("dead-letters", "replay", "--yes", "--rate", "50")
    wait_for(lambda: site.rabbit.count(dead) < EVENTS * 0.8, seconds=60, what=site.counts)
    with faults.killed([LEADER], cluster, site):
        replay.wait(120)
        while site.rabbit.count(dead):
            done = site.run("dead-letters", "replay", "--yes")
            assert time.monotonic() - began < ENDED_SECONDS, f"{done.stdout}{done.stderr}"
        while len(site.sink.ended({"backup.completed"})) < EVENTS:
            assert time.monotonic() - began < ENDED_SECONDS, f"{site.counts()} {site.log_tail()}"
            site.sink.poll(0.2)
    made = [each["snapshot_id"] for each in site.emulator.backups()]
    assert EVENTS == len(made) == len(set(made)), "a second backup"
    print(f"\nreplay: {EVENTS} dead letters, 0 left, second backups 0, {time.monotonic() - began:.1f} s")


_REFUSED = {"badRequest": {"code": 400, "message": "Invalid input received"}}
