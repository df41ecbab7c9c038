"""T5, T6, T8, T9: an API that loses answers, commits late, throttles, or is down."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.twins.events import PROJECT

pytestmark = pytest.mark.broker


def _t5(site: Site, *, events: int, share: float) -> None:
    """Drop this share of the answers to creates, and check that a lookup resolves each call in doubt."""
    site.emulator.set_faults([{"route": "create", "effect": "drop_after", "probability": share}])
    site.start_worker()
    site.ask(dict(many(0, events)))
    site.wait_until_ended(seconds=120 + events / 10)
    stats = site.emulator.stats()
    lookups = sum(stats.get("list", {}).values())
    cut = stats["create"].get("none", 0)
    tally = site.judge(
        f"T5 {share:.0%} of answers cut", creates=sum(stats["create"].values()), lookups=lookups
    )
    assert events == sum(stats["create"].values()), "something was sent twice"
    assert cut == sum(1 for each in site.sink.outcomes if each["data"]["found"])
    assert cut <= lookups
    assert events == sum(tally.counts.values())


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_an_answer_lost_after_the_work_makes_no_second_backup(
    make_site: MakeSite, amqp_url: str, share: float
) -> None:
    """T5: each call is sent once, and a lookup finds the backups whose answers were lost."""
    _t5(make_site(amqp_url), events=60, share=share)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_thousand_answers_lost(make_site: MakeSite, amqp_url: str, share: float) -> None:
    """T5 in full: 1,000 events with lost answers get one backup each."""
    _t5(make_site(amqp_url), events=1_000, share=share)


def test_lookups_continue_until_a_late_commit_is_found(make_site: MakeSite, amqp_url: str) -> None:
    """T6: if the API commits after the connection was lost, lookups continue until they find the backup."""
    site = make_site(amqp_url)
    site.emulator.set_faults(
        [
            {"route": "create", "effect": "late_commit", "seconds": 0.5, "probability": 0.3},
            {"route": "create", "effect": "late_commit", "seconds": 3.0, "probability": 0.5},
        ]
    )
    site.start_worker()
    site.ask(dict(many(0, 100)))
    site.wait_until_ended(seconds=60)
    creates = site.emulator.stats()["create"]
    site.judge("T6 late commits", creates=sum(creates.values()), cut=creates.get("none", 0))


def test_a_throttled_project_does_not_starve_the_others(make_site: MakeSite, amqp_url: str) -> None:
    """T8: while one project gets 429, the other's events are completed; no event is dead-lettered."""
    site = make_site(amqp_url)
    headers = {"Retry-After": "1"}
    site.emulator.set_faults(
        [{"route": "create", "effect": "status", "status": 429, "headers": headers, "project_id": PROJECT}]
    )
    others = dict(many(60, 80, project_id="other"))
    site.start_worker()
    site.ask(dict(many(0, 60)) | others)
    took = site.wait_until_ended(seconds=40, events=set(others))
    refused = site.emulator.stats()["create"]["429"]
    site.emulator.clear_faults()
    site.wait_until_ended(seconds=60)
    site.judge("T8 throttling", refused=refused, others_took=f"{took:.1f} s")
    assert refused <= 32 + took, (
        "more than one call per second that the API has asked for, and those in flight"
    )


def _t9(site: Site, *, waiting: int, seconds: float) -> None:
    """Keep the API down for a while with messages waiting, and count the calls that it gets."""
    site.emulator.set_faults([{"route": "*", "effect": "status", "status": 503}])
    site.start_worker()
    wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)
    site.ask(dict(many(0, waiting)))
    site.sink.poll(seconds)
    calls = sum(sum(each.values()) for each in site.emulator.stats().values())
    site.emulator.clear_faults()
    drained = site.wait_until_ended(seconds=120 + waiting / 50)
    site.judge("T9 outage", waiting=waiting, outage=f"{seconds:g} s", calls=calls, drained=f"{drained:.1f} s")
    # Pauses of 1, 2, 4, … seconds with one probe after each, and the calls in flight when the outage began.
    pauses, span = 0, 1.0
    while span <= seconds * 2:
        pauses, span = pauses + 1, span + min(60.0, 2.0**pauses)
    assert calls <= 32 + 2 * (pauses + 1)


def test_an_outage_dead_letters_no_event(make_site: MakeSite, amqp_url: str) -> None:
    """T9: while the API is down it is probed at growing intervals, and nothing is dead-lettered."""
    _t9(make_site(amqp_url), waiting=200, seconds=10.0)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_long_outage_with_many_waiting(make_site: MakeSite, amqp_url: str) -> None:
    """T9 in full: 10,000 events wait for two minutes."""
    _t9(make_site(amqp_url), waiting=10_000, seconds=120.0)


@pytest.mark.parametrize("status", [500, 503])
def test_creates_that_fail_while_lookups_work_end_no_event(
    make_site: MakeSite, amqp_url: str, status: int
) -> None:
    """The API's own message bus is down: creates fail, lookups work. Events wait, and creates are probed."""
    site = make_site(amqp_url, MAX_ATTEMPTS="3", VBS_TIMEOUT="1")
    site.emulator.set_faults([{"route": "create", "effect": "status", "status": status}])
    site.start_worker()
    site.ask(dict(many(0, 10)))
    # The fifth probe after 503, which is sent for a new event each time, comes after some 20 s.
    wait_for(
        lambda: 5 <= sum(site.emulator.stats().get("create", {}).values()), seconds=60, what=site.log_tail
    )
    site.sink.poll(15.0)
    creates = sum(site.emulator.stats()["create"].values())
    assert 0 == site.counts()[site.queues[-1]], site.log_tail()
    site.emulator.clear_faults()
    drained = site.wait_until_ended(seconds=90)
    site.judge(f"creates answered {status}", creates=creates, drained=f"{drained:.1f} s")


def test_a_maintenance_page_for_one_project_does_not_stop_the_others(
    make_site: MakeSite, amqp_url: str
) -> None:
    """A proxy answers all calls of one project with a page: the others' events, sent later, are completed."""
    site = make_site(amqp_url)
    page = "<html><h1>503</h1>maintenance</html>"
    site.emulator.set_faults(
        [{"route": "*", "effect": "status", "status": 404, "body": page, "project_id": PROJECT}]
    )
    site.start_worker()
    site.ask(dict(many(0, 100)))
    others = dict(many(100, 120, project_id="other"))
    site.ask(others)
    took = site.wait_until_ended(seconds=60, events=set(others))
    calls = sum(sum(each.values()) for each in site.emulator.stats().values())
    site.emulator.clear_faults()
    site.wait_until_ended(seconds=90)
    site.judge("maintenance of one project", calls=calls, others_took=f"{took:.1f} s")
    assert calls <= 32 + 3 * 20 + took


def test_a_probe_counts_no_message_as_a_crash(make_site: MakeSite, amqp_url: str) -> None:
    """T9: a probe does not raise a message's crash count, which would dead-letter it after twenty probes."""
    site = make_site(amqp_url)
    site.emulator.set_faults([{"route": "*", "effect": "status", "status": 503}])
    site.start_worker(CONCURRENCY="1")
    wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)
    site.ask(dict(many(0, 50)))
    wait_for(lambda: 3 <= sum(site.emulator.stats()["create"].values()), seconds=20, what=site.counts)
    site.stop()
    waiting: list[Mapping[str, Any]] = []

    def all_taken() -> bool:
        """Take what is there; a message may be on its way from one queue to another."""
        waiting.extend(headers for queue in site.queues for headers, _ in site.rabbit.take_all(queue))
        return len(waiting) == 50

    wait_for(all_taken, seconds=20, what=site.counts)
    assert 0 == sum(headers.get("x-delivery-count", 0) for headers in waiting)
