"""A million events through one worker, as fast as it goes: each has one backup, in constant memory.

``SOAK_EVENTS`` sets how many.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice

import pika
import pytest

from events.message import Message
from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.consumer import Consumer, Delivery
from handler.broker.publisher import Publisher
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many
from tests.chaos.vitals import Vitals, vitals

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

EVENTS = int(os.environ.get("SOAK_EVENTS", "1000000"))
BATCH = 1_000
BACKLOG = 10_000
"""The most events that wait for an outcome: what a producer and a worker hold must not grow with the run."""
PREFETCH = 2_000
SAMPLE_SECONDS = 2.0
SILENT_SECONDS = 120.0
PROPERTIES = pika.BasicProperties(content_type="application/json", delivery_mode=2)


class Outcomes:
    """What has come of the events: which have no outcome yet, and what came for none of these."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.unexpected: list[str] = []
        self.backups: set[str] = set()
        self.came = asyncio.Event()

    def add(self, delivery: Delivery) -> None:
        """Note an outcome."""
        outcome = json.loads(delivery.message.body)
        delivery.ack()
        if outcome["type"] == "backup.accepted" and outcome["correlationid"] in self.missing:
            self.missing.remove(outcome["correlationid"])
            self.backups.add(outcome["data"]["backup"]["id"])
        else:
            self.unexpected.append(f"{outcome['type']} of {outcome.get('correlationid')}")
        self.came.set()

    async def wait_until_at_most(self, count: int) -> None:
        """Wait until at most so many events have no outcome; fail if none comes for long."""
        while len(self.missing) > count:
            self.came.clear()
            async with asyncio.timeout(SILENT_SECONDS):
                await self.came.wait()


async def _send(site: Site, outcomes: Outcomes) -> None:
    """Publish all events, and wait until each has an outcome."""
    async with await connect([site.amqp_url], Tls()) as connection:
        publisher = await Publisher.open(await connection.channel())
        sink = Consumer(await connection.channel(), site.sink.queue, outcomes.add, lambda: None)
        await sink.set_prefetch(PREFETCH)
        events = many(0, EVENTS)
        while batch := list(islice(events, BATCH)):
            await outcomes.wait_until_at_most(BACKLOG - BATCH)
            outcomes.missing.update(event_id for event_id, _ in batch)
            await asyncio.gather(*(_publish(publisher, site, event) for _, (_, event) in batch))
        await outcomes.wait_until_at_most(0)


async def _publish(publisher: Publisher, site: Site, event: Message) -> None:
    await publisher.publish(f"{site.name}.in", "snapshot.completed", event.body, PROPERTIES)


async def _soak(site: Site, pid: int) -> tuple[Outcomes, Sequence[Vitals]]:
    """Run all events through the worker; return what came of them, and samples of the worker."""
    outcomes, samples = Outcomes(), list[Vitals]()
    sending = asyncio.create_task(_send(site, outcomes))
    while not sending.done():
        samples.append(vitals(pid))
        await asyncio.wait({sending}, timeout=SAMPLE_SECONDS)
    await sending
    return outcomes, samples


def _tenths(samples: Sequence[Vitals]) -> Iterator[float]:
    """Yield the most memory in each tenth of the run."""
    size = max(1, len(samples) // 10)
    for start in range(0, len(samples) - size + 1, size):
        yield max(each.rss for each in samples[start : start + size])


@pytest.mark.timeout(7200)
def test_a_million_events_are_backed_up_once_in_constant_memory(make_site: MakeSite, amqp_url: str) -> None:
    """Each of a million events has one outcome and one backup, and the worker's memory does not grow."""
    site = make_site(amqp_url)
    site.measured = True
    site.settings = {"TRACK_BACKUPS": "false", "CONCURRENCY": "128"}
    worker = site.start_worker()

    outcomes, samples = asyncio.run(_soak(site, worker.pid))

    seconds = samples[-1].at - samples[0].at
    memory = list(_tenths(samples))
    files = [each.descriptors for each in samples[len(samples) // 10 :]]
    print(
        f"\n{EVENTS} events in {seconds:.0f} s ({EVENTS / seconds:.0f}/s): memory by tenths "
        f"{', '.join(f'{size:.1f}' for size in memory)} MB, {min(files)} to {max(files)} descriptors, "
        f"{len(outcomes.unexpected)} unexpected outcomes"
    )
    assert [] == outcomes.unexpected[:3]
    assert EVENTS == len(outcomes.backups) == site.emulator.count_backups()
    assert dict.fromkeys(site.queues, 0) == site.counts()
    assert max(memory[5:]) <= 1.02 * memory[4], "in the second half"
