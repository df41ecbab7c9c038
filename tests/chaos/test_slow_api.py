"""T7: an API that is slow, up to a hundred times slower than usual, and sometimes never answers."""

from urllib.parse import urlsplit

import pytest

from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.chaos.verdicts import ACCEPTED
from tests.chaos.vitals import vitals

pytestmark = pytest.mark.broker

USUAL = 0.015
HEARTBEAT = 2
SLOW = [
    {"route": "create", "effect": "hang", "times": 2},  # so that each run has at least two
    {"route": "*", "effect": "hang", "probability": 0.01},
    {"route": "*", "effect": "delay", "seconds": 100 * USUAL, "probability": 0.1},
    {"route": "*", "effect": "delay", "seconds": 10 * USUAL, "probability": 0.3},
    {"route": "*", "effect": "delay", "seconds": USUAL},
]


def _with_heartbeat(amqp_url: str) -> str:
    """Return the broker's URL with a heartbeat so short that a blocked event loop would miss it."""
    return urlsplit(amqp_url)._replace(query=f"heartbeat={HEARTBEAT}").geturl()


def _accepted(site: Site) -> int:
    """Return how many events have been accepted."""
    site.sink.poll(0.1)
    return len(site.sink.ended([ACCEPTED]))


def _t7(site: Site, *, events: int) -> tuple[float, float]:
    """Run a worker with a full queue and the slow API; no event is lost and no backup is made twice.

    The worker keeps its first connection to the broker. Returns the worker's memory in MB after a fifth of
    the events, and at the end.
    """
    site.settings = {"AMQP_URL": _with_heartbeat(site.amqp_url)}
    site.emulator.set_faults(SLOW)
    site.ask(dict(many(0, events)))
    worker = site.start_worker()
    wait_for(lambda: _accepted(site) >= events // 5, seconds=60 + events / 10, what=site.log_tail)
    before = vitals(worker.pid)
    took = site.wait_until_ended(seconds=60 + events / 10)
    after = vitals(worker.pid)
    log = site.logs[worker.pid].read_text()
    hung = site.emulator.stats()["create"].get("none", 0)
    tally = site.judge(
        f"T7 slow API, {events} events",
        hung=hung,
        took=f"{took:.1f} s",
        rss=f"{before.rss:.1f} to {after.rss:.1f} MB",
    )
    assert events == sum(tally.counts.values())
    assert hung >= 2
    assert 1 == log.count('"broker.connected"'), "it had to connect again"
    assert 0 == log.count('"broker.lost"')
    return before.rss, after.rss


def test_a_slow_api_costs_neither_events_nor_the_connection(make_site: MakeSite, amqp_url: str) -> None:
    """T7: no event is lost while calls take up to 100 times longer and one in a hundred hangs."""
    _t7(make_site(amqp_url), events=200)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_slow_api_costs_no_memory(make_site: MakeSite, amqp_url: str) -> None:
    """T7 in full: during 5,000 events the worker's memory grows by less than a fifth."""
    before, after = _t7(make_site(amqp_url), events=5_000)
    assert after <= 1.2 * before
