"""Looking at the dead letters leaves them as they are."""

import asyncio

import pika
import pytest

from handler.broker.connection import Tls, connect
from handler.broker.topology import Queue
from handler.dead_letters import reading as reading_module
from handler.dead_letters.batch import Batch
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import QueueSession, selected
from handler.dead_letters.reading import QueueUnusable, check_queue
from tests.integration.dead_letters.place import Place, Raw, dead_headers, event

COUNT = 650  # three windows: 100, 400 and a part of the next
pytestmark = pytest.mark.broker


def dead_letters(count: int) -> list[Raw]:
    """Dead letters for three reasons."""
    return [(event(n), dead_headers(n, ("quota", "denied", "malformed")[n % 3])) for n in range(count)]


def unmarked(found: list[Raw]) -> list[Raw]:
    """Without the broker's running counts of deliveries, which are no part of a message."""
    counts = ("x-delivery-count", "x-acquired-count")  # the second was seen with 4.3.6, not with 4.0.5
    return [
        (body, {key: value for key, value in headers.items() if key not in counts}) for body, headers in found
    ]


async def read(place: Place, count: int) -> list[str]:
    """Look at the first few, and return their event ids."""
    async with (
        await connect([place.url], Tls()) as connection,
        QueueSession(connection, place.topology, lambda: None).open() as found,
    ):
        return [held.dead_letter.event_id async for held in selected(found, Filters(), limit=count)]


@pytest.mark.parametrize("looked_at", [0, 1, 100, 350, COUNT])
def test_what_was_looked_at_is_where_it_was(place: Place, looked_at: int) -> None:
    """In order, with body and headers as they were, however far the look went."""
    place.dead_letter(dead_letters(COUNT))

    seen = asyncio.run(read(place, looked_at))

    assert [f"event-{number}" for number in range(looked_at)] == seen
    assert dead_letters(COUNT) == unmarked(place.take(place.topology.dead))


def test_looking_again_and_again_loses_nothing(place: Place) -> None:
    """More often than the 20 times after which RabbitMQ 4 drops by default."""
    place.dead_letter(dead_letters(10))

    for _ in range(25):
        asyncio.run(read(place, 10))

    assert dead_letters(10) == unmarked(place.take(place.topology.dead))


def test_memory_holds_windows_of_a_bounded_size(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger the bodies, the fewer of them are taken at once."""
    monkeypatch.setattr(reading_module, "FIRST_BATCH", 2)
    monkeypatch.setattr(reading_module, "BATCH_BYTES", 4_000)
    place.dead_letter([(b"x" * 1_000, {}) for _ in range(20)])
    sizes: list[int] = []
    fill = Batch.fill

    async def noted(self: Batch, wanted: int) -> bool:
        sizes.append(wanted)
        return await fill(self, wanted)

    monkeypatch.setattr(Batch, "fill", noted)
    asyncio.run(read(place, 20))

    assert [2, 4, 4, 4, 4, 2] == sizes


def test_list_counts_and_shows_what_the_filters_choose(place: Place) -> None:
    """By category, and by the time of death."""
    place.dead_letter(dead_letters(30))

    found = place.json("list", "--category", "quota", "--since", "2026-11-20T00:00:15")

    assert 5 == found["total"]
    assert [("quota", "VolumeBackup.0061", 5)] == [
        (group["category"], group["code"], group["count"]) for group in found["groups"]
    ]
    assert [f"event-{number}" for number in (15, 18, 21, 24, 27)] == [
        message["event_id"] for message in found["messages"]
    ]


def test_what_the_broker_and_others_have_put_there_is_understood(place: Place) -> None:
    """A rejected message is shown as rejected, with its snapshot; an unknown one is shown all the same."""
    with place.channel() as channel:
        channel.basic_publish("", place.topology.queue, event(1), pika.BasicProperties(delivery_mode=2))
        place.until(lambda: place.count(place.topology.queue) == 1)
        method, _, _ = channel.basic_get(place.topology.queue)
        assert method is not None
        channel.basic_reject(method.delivery_tag, requeue=False)
    place.until(lambda: place.count(place.topology.dead) == 1)
    place.dead_letter([(b"\xff", {})])
    place.until(lambda: place.count(place.topology.dead) == 2)

    first, second = place.json("list")["messages"]

    assert ("rejected", "event-1") == (first["category"], first["event_id"])
    assert "unknown" == second["category"]
    assert "no dead letter has the ID" in place.run("show", "none").stderr
    assert {"base64": "/w=="} == place.json("show", second["id"])["body"]


def test_a_queue_with_a_delivery_limit_of_its_own_is_not_read(place: Place) -> None:
    """Each look would bring its messages nearer to being dropped."""
    name = f"{place.topology.queue}.wait.1s"  # any queue that was declared otherwise

    async def check() -> None:
        async with await connect([place.url], Tls()) as connection:
            await check_queue(connection, Queue(name, place.topology.dead_queue.arguments))

    with pytest.raises(QueueUnusable, match="could lose messages"):
        asyncio.run(check())


def test_a_missing_queue_is_said_and_not_made(place: Place) -> None:
    """A wrong SNAPSHOT_QUEUE must not look like an empty queue."""
    place.settings["SNAPSHOT_QUEUE"] = f"{place.topology.queue}-wrong"

    done = place.run("list")

    assert (1, True) == (done.exit_code, "check SNAPSHOT_QUEUE" in done.stderr)
    assert 1 == place.run("list").exit_code


def test_a_second_operator_waits_for_the_first(place: Place) -> None:
    """Who reads has all in hand; the other would see none, and so waits for the turn."""
    place.dead_letter(dead_letters(5))

    async def both() -> list[str]:
        waits = asyncio.Event()
        async with await connect([place.url], Tls()) as one, await connect([place.url], Tls()) as two:
            async with QueueSession(one, place.topology, lambda: None).open() as found:
                _ = [held async for held in selected(found, Filters())]
                second = asyncio.create_task(_all(QueueSession(two, place.topology, waits.set)))
                await waits.wait()
            return await second

    assert [f"event-{number}" for number in range(5)] == asyncio.run(both())


async def _all(queue_session: QueueSession) -> list[str]:
    async with queue_session.open() as found:
        return [held.dead_letter.event_id async for held in selected(found, Filters())]
