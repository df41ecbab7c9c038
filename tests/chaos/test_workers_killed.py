"""T2: workers that are killed at random times."""

import random

import pytest

from infra.local.broker import Broker
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for

pytestmark = pytest.mark.broker

SLOW_CREATES = [{"route": "create", "effect": "delay", "seconds": 0.3, "probability": 0.5}]
"""Slow creates: the API finishes a killed worker's call, and makes its backup."""


def _kill_workers(site: Site, rng: random.Random, *, events: int, kills: int, workers: int) -> None:
    """Publish in parts, and kill one worker at a random time after each."""
    for _ in range(workers):
        site.start_worker()
    for number in range(kills):
        site.ask(dict(many(events * number // kills, events * (number + 1) // kills)))
        wait_for(lambda: len(site.working()) > 0, seconds=30, what=site.log_tail)
        site.sink.poll(rng.uniform(0.0, 0.8))
        site.kill(rng.choice(site.working()))
        site.start_worker()


def _t2(site: Site, rng: random.Random, *, events: int, kills: int, workers: int) -> None:
    site.emulator.set_faults(SLOW_CREATES)
    _kill_workers(site, rng, events=events, kills=kills, workers=workers)
    drained = site.wait_until_ended(seconds=90)
    site.judge("T2 SIGKILL of workers", events=events, kills=kills, drained_after=f"{drained:.1f} s")
    assert drained < 30


def test_workers_killed_at_any_time_lose_no_event_and_make_no_second_backup(
    make_site: MakeSite, amqp_url: str, rng: random.Random
) -> None:
    """T2: killing 20 workers during 400 events loses no event and makes no second backup."""
    _t2(make_site(amqp_url), rng, events=400, kills=20, workers=3)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_workers_killed_a_hundred_times(make_site: MakeSite, amqp_url: str, rng: random.Random) -> None:
    """T2 in full: killing 100 workers during 2,000 events loses no event and makes no second backup."""
    _t2(make_site(amqp_url), rng, events=2_000, kills=100, workers=3)


def test_the_broker_reports_its_product(broker: Broker) -> None:
    """The broker of these tests is a real RabbitMQ."""
    assert broker.version.startswith("RabbitMQ ")
