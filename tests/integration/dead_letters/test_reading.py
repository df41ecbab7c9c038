"""A reading leaves the dead letters in the queue as they are."""

import asyncio

import pika
import pytest

from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.topology import Queue
from handler.dead_letters import reading as reading_module
from handler.dead_letters.batch import Batch
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import QueueSession, selected
from handler.dead_letters.reading import QueueUnusable, check_queue
from tests.integration.dead_letters.place import Place, Raw, dead_headers, event

COUNT = 650  # three batches: 100, 400 and a part of the next
pytestmark = pytest.mark.broker


def dead_letters(count: int) -> list[Raw]:
    """Return dead letters of three categories."""
    return [(event(n), dead_headers(n, ("quota", "denied", "malformed")[n % 3])) for n in range(count)]


def unmarked(found: list[Raw]) -> list[Raw]:
    """Return the messages without the broker's delivery counts, which are not part of a message."""
    counts = ("x-delivery-count", "x-acquired-count")  # the second was seen with 4.3.6, not with 4.0.5
    return [
        (body, {key: value for key, value in headers.items() if key not in counts}) for body, headers in found
    ]


async def read(place: Place, count: int) -> list[str]:
    """Read the first few, and return their event ids."""
    async with (
        await connect([place.url], Tls()) as connection,
        QueueSession(connection, place.topology, lambda: None).open() as found,
    ):
        return [held.dead_letter.event_id async for held in selected(found, Filters(), limit=count)]


@pytest.mark.parametrize("number_read", [0, 1, 100, 350, COUNT])
def test_a_reading_leaves_all_messages_in_order(place: Place, number_read: int) -> None:
    """However many are read, all messages keep order, body and headers."""
    place.dead_letter(dead_letters(COUNT))

    seen = asyncio.run(read(place, number_read))

    assert [f"event-{number}" for number in range(number_read)] == seen
    assert dead_letters(COUNT) == unmarked(place.take(place.topology.dead))


@pytest.mark.parametrize("number_read", [1, 100, 350])
def test_a_part_that_is_read_after_all_were_read_stays_in_its_place(place: Place, number_read: int) -> None:
    """A reading of the first few, after one of all, does not put these behind the others."""
    place.dead_letter(dead_letters(COUNT))

    asyncio.run(read(place, COUNT))
    asyncio.run(read(place, number_read))

    assert dead_letters(COUNT) == unmarked(place.take(place.topology.dead))


def test_a_drop_that_stops_at_its_limit_leaves_the_others_in_order(place: Place) -> None:
    """After a look at all, a drop of the first few of one category leaves the rest in its order."""
    place.dead_letter(dead_letters(COUNT))
    before = dead_letters(COUNT)

    asyncio.run(read(place, COUNT))
    assert 10 == place.json("drop", "--category", "quota", "--limit", "10", "--no-export", "--yes")["dropped"]

    dropped = range(0, COUNT, 3)[:10]
    left = [each for index, each in enumerate(before) if index not in dropped]
    assert left == unmarked(place.take(place.topology.dead))


def test_repeated_readings_lose_no_message(place: Place) -> None:
    """25 readings lose nothing, though RabbitMQ 4 drops after 20 deliveries by default."""
    place.dead_letter(dead_letters(10))

    for _ in range(25):
        asyncio.run(read(place, 10))

    assert dead_letters(10) == unmarked(place.take(place.topology.dead))


def test_large_bodies_are_read_in_small_batches(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch holds no more bytes than ``BATCH_BYTES``."""
    monkeypatch.setattr(reading_module, "FIRST_BATCH", 2)
    monkeypatch.setattr(reading_module, "BATCH_BYTES", 4_000)
    place.dead_letter([(b"x" * 1_000, {}) for _ in range(20)])
    sizes: list[int] = []
    fill = Batch.fill

    async def recorded(self: Batch, wanted: int) -> bool:
        sizes.append(wanted)
        return await fill(self, wanted)

    monkeypatch.setattr(Batch, "fill", recorded)
    asyncio.run(read(place, 20))

    assert [2, 4, 4, 4, 4, 2] == sizes


def test_list_counts_and_shows_matching_dead_letters(place: Place) -> None:
    """``list`` filters by category and by time."""
    place.dead_letter(dead_letters(30))

    found = place.json("list", "--category", "quota", "--since", "2026-11-20T00:00:15")

    assert 5 == found["total"]
    assert [("quota", "VolumeBackup.0061", 5)] == [
        (group["category"], group["code"], group["count"]) for group in found["groups"]
    ]
    assert [f"event-{number}" for number in (15, 18, 21, 24, 27)] == [
        message["event_id"] for message in found["messages"]
    ]


def test_dead_letters_of_the_broker_and_of_other_programs_are_listed(place: Place) -> None:
    """A rejected message is listed with its event; a message of another program is listed as unknown."""
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
    assert "no dead letter has the ID" in place.run("show", "0" * 12).stderr
    assert {"base64": "/w=="} == place.json("show", second["id"])["body"]


def test_a_queue_with_a_delivery_limit_of_its_own_is_not_read(place: Place) -> None:
    """A queue with another delivery limit is refused, since each reading counts toward the limit."""
    name = f"{place.topology.queue}.wait.1s"  # any queue that was declared otherwise

    async def check() -> None:
        async with await connect([place.url], Tls()) as connection:
            await check_queue(connection, Queue(name, place.topology.dead_queue.arguments))

    with pytest.raises(QueueUnusable, match="could lose messages"):
        asyncio.run(check())


def test_a_missing_queue_is_an_error_and_is_not_declared(place: Place) -> None:
    """A wrong SNAPSHOT_QUEUE gives an error, not an empty list."""
    place.settings["SNAPSHOT_QUEUE"] = f"{place.topology.queue}-wrong"

    done = place.run("list")

    assert (1, True) == (done.exit_code, "check SNAPSHOT_QUEUE" in done.stderr)
    assert 1 == place.run("list").exit_code


def test_a_second_operator_waits_for_the_first(place: Place) -> None:
    """The second session waits for the lock, and then sees all messages."""
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
