"""T27: a soak test: a worker runs for long with 1 % of faults; its memory and descriptors stay constant.

``SOAK_SECONDS`` sets the duration (600 if unset). The test does not kill the worker, which T2 does: a new
process would start with new memory.
"""

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from urllib.parse import urlsplit

import pytest

from events.message import Message
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.chaos.vitals import Vitals, vitals
from tests.proxy import TcpProxy

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
LONG = 1800.0
"""From this duration on, the slope per hour is more than noise. Growth that settles in the first half hour
adds 2 to 3 MB/h to it, so run for two hours."""
BATCH = 25
"""The number of events per second."""
BACKLOG = 500
SHARE = 0.01
SPARE = 8
"""The number of connections that a pool may open or close; a leak at each fault would be hundreds."""
FAULTS = [
    {"route": "*", "effect": "hang", "probability": SHARE},
    {"route": "*", "effect": "delay", "seconds": 1.5, "probability": SHARE},
    {"route": "*", "effect": "drop_before", "probability": SHARE},
    {"route": "*", "effect": "garbage", "probability": SHARE},
    {"route": "*", "effect": "status", "status": 500, "probability": SHARE},
    {"route": "*", "effect": "status", "status": 503, "probability": SHARE},
    {"route": "*", "effect": "status", "status": 429, "headers": {"Retry-After": "1"}, "probability": SHARE},
    {"route": "create", "effect": "drop_after", "probability": SHARE},
    {"route": "create", "effect": "late_commit", "seconds": 1.0, "probability": SHARE},
]


@contextmanager
def _proxied(amqp_url: str) -> Iterator[tuple[TcpProxy, str]]:
    """Run a proxy before the broker that can cut the worker's connection; yield it and its URL."""
    parts = urlsplit(amqp_url)
    with TcpProxy(parts.hostname or "", parts.port or 5672) as proxy:
        place = f"{parts.username}:{parts.password}@{proxy.host}:{proxy.port}"
        yield proxy, parts._replace(netloc=place).geturl()


def _soak(site: Site, proxy: TcpProxy, rng: random.Random) -> tuple[list[Vitals], int]:
    """Publish events continuously; return a sample a second, and the number of poison messages."""
    worker = site.start_worker()
    samples: list[Vitals] = []
    poison = 0
    until = time.monotonic() + SECONDS
    for number in count(0, BATCH):
        if time.monotonic() > until:
            return samples, poison
        site.sink.poll(1.0)
        samples.append(vitals(worker.pid))
        if rng.random() < SHARE:
            proxy.cut_all()
        if _backlog(site) > BACKLOG:
            continue
        events = dict(many(number, number + BATCH))
        site.ask(events)
        site.publish(*(event for _, event in events.values() if rng.random() < SHARE))
        if rng.random() < SHARE * BATCH:
            poison += 1
            site.publish(Message(f"{{poison {poison}".encode()))
    raise AssertionError("unreachable")


def _backlog(site: Site) -> int:
    return len(site.asked) - len(site.sink.ended(["backup.completed"]))


def _flat(samples: Sequence[Vitals]) -> tuple[float, str]:
    """Return the slope of the memory in MB an hour after the warm-up, and a line that reports all values."""
    slope, _ = statistics.linear_regression(
        [each.at / 3600 for each in samples], [each.rss for each in samples]
    )
    sizes, files = [each.rss for each in samples], [each.descriptors for each in samples]
    tenths = sizes[:: max(1, len(sizes) // 10)]
    return slope, (
        f"{slope:+.2f} MB/h over {samples[-1].at - samples[0].at:.0f} s,"
        f" {min(sizes):.1f} to {max(sizes):.1f} MB ({', '.join(f'{size:.1f}' for size in tenths)}),"
        f" {min(files)} to {max(files)} descriptors"
    )


def _assert_flat(samples: Sequence[Vitals], slope: float) -> None:
    sizes = [each.rss for each in samples]
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    if SECONDS > LONG:
        assert slope < 1.0
    else:
        assert max(sizes) <= 1.2 * min(sizes)
    # The number of idle connections changes with the load; a leak raises its minimum.
    before, after = (min(each.descriptors for each in part) for part in (first, last))
    assert after - before <= SPARE


@pytest.mark.timeout(SECONDS + 600)
def test_memory_and_descriptors_stay_flat(make_site: MakeSite, amqp_url: str, rng: random.Random) -> None:
    """T27: no event is lost or handled twice, and memory and descriptors stop growing after the warm-up."""
    site = make_site(amqp_url)
    site.measured = True
    with _proxied(amqp_url) as (proxy, url):
        site.settings = {"AMQP_URL": url, "TRACK_BACKUPS": "true"}
        site.emulator.set_faults(FAULTS)
        samples, poison = _soak(site, proxy, rng)
        site.emulator.clear_faults()
        site.wait_until_ended(seconds=120)
        wait_for(lambda: site.counts()[site.queues[-1]] >= poison, seconds=30, what=site.counts)
        site.sink.outcomes = [each for each in site.sink.outcomes if each.get("subject")]
        warm = samples[len(samples) // 5 :]
        slope, told = _flat(warm)
        site.judge(
            f"T27 soak of {SECONDS:g} s", dead=poison, poison=poison, cuts=proxy.accepted - 1, rss=told
        )
    _assert_flat(warm, slope)
