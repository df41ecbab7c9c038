"""One node of three dies, stands still or is restarted while three workers handle hundreds of events."""

import time

import pytest

from infra.local.server import RabbitProcess
from tests.chaos.site import Site, many, wait_for
from tests.cluster.conftest import WORKERS, StartSite
from tests.cluster.nodes import NAMES, Cluster

pytestmark = pytest.mark.cluster

EVENTS = 300
AGAIN_SECONDS = 40
"""More than the seconds that are aimed at: the machine may be busy."""
ENDED_SECONDS = 120


def _working(site: Site) -> None:
    wait_for(lambda: len(site.working()) == WORKERS, seconds=60, what=site.log_tail)


def _goes_on(site: Site, first: int) -> float:
    """Publish ten more events, and return after how many seconds the first of them is accepted."""
    events = dict(many(first, first + 10))
    began = time.monotonic()
    site.ask(events)
    types = {"backup.accepted"}
    while not events.keys() & site.sink.ended(types):
        assert time.monotonic() - began < AGAIN_SECONDS, site.log_tail()
        site.sink.poll(0.1)
    return time.monotonic() - began


def _back(cluster: Cluster, node: RabbitProcess) -> None:
    """Start a node again, and wait until it is one of three."""
    node.start()
    wait_for(cluster.whole, seconds=120, what=lambda: "the node is not back")


@pytest.mark.parametrize("leader", range(3))
def test_a_killed_leader_loses_nothing(start_site: StartSite, cluster: Cluster, leader: int) -> None:
    """If the node that leads all queues is killed, no event is lost, and others are handled soon."""
    site = start_site(leader, (leader + 1) % 3)
    _working(site)
    site.ask(dict(many(0, EVENTS)))
    assert NAMES[leader] in cluster.leader(site.name, ask=leader)
    cluster.nodes[leader].kill()
    try:
        again = _goes_on(site, EVENTS)
        ended = site.wait_until_ended(seconds=ENDED_SECONDS)
    finally:
        _back(cluster, cluster.nodes[leader])
    site.judge(f"leader {leader} killed", again=f"{again:.1f} s", all_ended=f"{ended:.1f} s")


def test_a_paused_leader_loses_nothing(start_site: StartSite, cluster: Cluster) -> None:
    """If the node that leads all queues stands still, no event is lost, and others are handled soon.

    What waited in queues that it led is published again by the sweep. Afterwards the node is started anew:
    RabbitMQ may need minutes to take it in again.
    """
    site = start_site(0, 1)
    _working(site)
    site.ask(dict(many(0, EVENTS)))
    with cluster.paused(0):
        again = _goes_on(site, EVENTS)
        ended = site.wait_until_ended(seconds=2 * ENDED_SECONDS)
    cluster.nodes[0].kill()
    _back(cluster, cluster.nodes[0])
    site.judge("leader paused", again=f"{again:.1f} s", all_ended=f"{ended:.1f} s")


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
            again.append(_goes_on(site, first + EVENTS))
        _back(cluster, node)
    ended = site.wait_until_ended(seconds=ENDED_SECONDS)
    site.judge(
        "rolling restart", again=", ".join(f"{each:.1f} s" for each in again), all_ended=f"{ended:.1f} s"
    )
