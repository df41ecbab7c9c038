"""Lookups in an outage: a refused request is sent again only after one that shows no backup."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from events.message import Message
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for

pytestmark = pytest.mark.broker

PROJECTS = 10
SAMPLE_SECONDS = 1.0


@dataclass
class Load:
    """The calls that the API got in a while, by route, and the most of them in one sample a second."""

    creates: int
    lookups: int
    most: float


def _events(count: int) -> Iterator[tuple[str, tuple[str, Message]]]:
    """Yield events of all projects by turns."""
    for number in range(count):
        yield from many(number, number + 1, project_id=f"{number % PROJECTS:032x}")


def _calls(site: Site) -> tuple[int, int]:
    stats = site.emulator.stats()
    return sum(stats.get("create", {}).values()), sum(stats.get("list", {}).values())


def _watch(site: Site, seconds: float, *, until_ended: bool = False) -> Load:
    """Count calls for so many seconds, or until each event has its outcome."""
    began, before = time.monotonic(), _calls(site)
    last, at, most = before, began, 0.0
    while time.monotonic() - began < seconds:
        site.sink.poll(SAMPLE_SECONDS)
        now, calls = time.monotonic(), _calls(site)
        most = max(most, (sum(calls) - sum(last)) / (now - at))
        last, at = calls, now
        if until_ended and not set(site.asked) - site.sink.ended({"backup.accepted"}):
            break
    return Load(last[0] - before[0], last[1] - before[1], most)


def _outage(site: Site, *, events: int, seconds: float, route: str) -> None:
    """Answer with 503 for a while; the requests have left, so each refused one needs a lookup."""
    site.emulator.set_faults([{"route": route, "effect": "status", "status": 503}])
    site.start_worker()
    wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)
    site.ask(dict(_events(events)))
    during = _watch(site, seconds)
    refused = site.emulator.stats()["create"]["503"]
    site.emulator.clear_faults()
    began = time.monotonic()
    after = _watch(site, 180 + events / 20, until_ended=True)
    drained = time.monotonic() - began
    site.judge(
        f"503 for {seconds:g} s on {route}, {events} events",
        refused=f"{refused};",
        during=f"{during.creates} creates, {during.lookups} lookups, {during.most:.1f}/s at most;",
        after=f"{after.creates} creates, {after.lookups} lookups, {after.most:.0f}/s at most;",
        drained=f"{drained:.0f} s",
    )
    assert during.creates + during.lookups <= 64 + 2 * PROJECTS + seconds, "the outage is hammered"
    assert after.lookups <= refused + 5, "more than one lookup for each refused request"
    assert events == after.creates


@pytest.mark.parametrize("route", ["create", "*"])
def test_an_outage_costs_few_lookups(make_site: MakeSite, amqp_url: str, route: str) -> None:
    """Few events were refused in the outage; each of them costs one lookup, all others cost none."""
    _outage(make_site(amqp_url), events=300, seconds=12.0, route=route)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("route", ["create", "*"])
def test_an_outage_of_many_events_costs_few_lookups(make_site: MakeSite, amqp_url: str, route: str) -> None:
    """The same in full: 10,000 events of ten projects, and two minutes."""
    _outage(make_site(amqp_url), events=10_000, seconds=120.0, route=route)
