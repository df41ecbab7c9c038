"""The topology goes away while a worker runs, on a real broker that sends no ``basic.cancel``.

RabbitMQ does not always send one when a queue is deleted on another node. Without the client's capability it
sends none at all, which is the same for the worker.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pika
import pytest

from handler import bootstrap
from handler.amqp_url import AmqpUrl
from handler.broker import addresses as links
from handler.broker.addresses import connect
from handler.broker.connection import BrokerConnection, ChannelClosed, Tls, parameters
from handler.broker.counts import Counts, count, count_messages
from handler.broker.publisher import Publisher
from handler.broker.topology import READS_LIMIT, Topology, declare
from handler.broker.upkeep import Upkeep, inspect, renew_dead
from handler.errors import Unroutable
from handler.settings import Settings
from handler.worker.sweep import SweepTimes
from handler.worker.wiring import make_worker
from handler.worker.worker import Worker
from infra.emulator.testing import Emulator, running_emulator
from infra.local.server import RabbitProcess
from tests.patience import patient
from tests.twins.events import message

pytestmark = pytest.mark.broker

CHECK_SECONDS = 0.3
WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Run an API without a sign-in."""
    with running_emulator() as running:
        yield running


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the broker send no ``basic.cancel`` to the connections of this test."""

    def without(url: AmqpUrl, tls: Tls, ip: str | None) -> pika.ConnectionParameters:
        found = parameters(url, tls, ip)
        assert isinstance(found.client_properties, dict)
        found.client_properties["capabilities"] = {
            "basic.nack": True,
            "connection.blocked": True,
            "consumer_cancel_notify": False,
            "publisher_confirms": True,
        }
        return found

    monkeypatch.setattr(links, "parameters", without)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Worker, BrokerConnection]]:
    """Run a worker that checks the topology often; yield it with a connection of another program."""
    stop = asyncio.Event()
    async with (
        bootstrap.parts(settings) as parts,
        await bootstrap.open_connection(settings) as other,
    ):
        worker = make_worker(parts, sweep_times=SweepTimes(), check_seconds=CHECK_SECONDS)
        work = asyncio.create_task(worker.run(stop))
        try:
            await until(lambda: worker.session is not None and worker.session.consuming)
            yield worker, other
        finally:
            stop.set()
            await work
            await remove(other, bootstrap.topology(settings))


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(patient(WAIT_SECONDS)):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


async def remove(connection: BrokerConnection, topology: Topology) -> None:
    """Delete the queues and exchanges of this test."""
    channel = await connection.channel()
    for queue in topology.queues():
        await channel.call(channel.raw.queue_delete, queue=queue.name)
    for exchange in topology.exchanges():
        await channel.call(channel.raw.exchange_delete, exchange=exchange.name)


def settings_for(amqp_url: str, unique: str, emulator: Emulator, folder: Path) -> Settings:
    """Return the settings of a worker without tracking, which publishes outcomes to nobody."""
    return Settings(
        _env_file=None,
        amqp_url=amqp_url,
        snapshot_exchange=f"{unique}.in",
        snapshot_queue=unique,
        result_exchange=f"{unique}.out",
        result_unroutable="ignore",
        wait_ladder="1,5",
        vbs_endpoint=emulator.url,
        vbs_auth="none",
        ledger_url=f"sqlite:///{folder}/ledger.db",
        track_backups=False,
    )


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("again", [False, True], ids=["deleted", "made again at once"])
def test_a_worker_consumes_anew_without_a_cancel(
    again: bool, amqp_url: str, unique: str, emulator: Emulator, tmp_path: Path
) -> None:
    """The queue is deleted, or deleted and made again at once: the next event is handled nevertheless."""
    settings = settings_for(amqp_url, unique, emulator, tmp_path)
    made = len(emulator.backups())

    async def body() -> None:
        async with running(settings) as (worker, other):
            channel = await other.channel()
            await channel.call(channel.raw.queue_delete, queue=unique)
            if again:
                await declare(other, bootstrap.topology(settings))
            await until(lambda: _exists(other, unique))
            await until(partial(_published, other, f"{unique}.in", 0))
            await until(partial(_made, emulator, made + 1))
            assert not worker.missing

    asyncio.run(body())


def test_a_queue_that_cannot_be_made_again_is_missing(
    amqp_url: str, unique: str, emulator: Emulator, tmp_path: Path
) -> None:
    """While the fanout exchange cannot be declared, the worker says that it is missing; then it is not."""
    settings = settings_for(amqp_url, unique, emulator, tmp_path)

    async def body() -> None:
        async with running(settings) as (worker, other):
            channel = await other.channel()
            refused = True
            upkeep = worker._services.upkeep
            restore = upkeep._topology
            upkeep._topology = restore._replace(result_exchange="amq.reserved")
            await channel.call(channel.raw.exchange_delete, exchange=unique)
            await until(lambda: bool(worker.missing) == refused)
            assert (f"the fanout exchange {unique}",) == tuple(worker.missing)
            upkeep._topology = restore
            await until(lambda: not worker.missing)

    asyncio.run(body())


def test_of_calls_at_the_same_time_one_restores(amqp_url: str, unique: str) -> None:
    """Many messages find a wait queue deleted at once: the broker is asked once for all."""

    async def body() -> None:
        names = Topology(unique, f"{unique}.in", f"{unique}.out", (1, 5))
        async with await connect([amqp_url], Tls()) as connection:
            upkeep = Upkeep(names)
            try:
                found = await asyncio.gather(*(upkeep.restore(connection) for _ in range(20)))
                assert 1 == sum(bool(each) for each in found)
                assert 1 == upkeep.remade
                assert all(each.exists for each in await inspect(connection, names))
            finally:
                await remove(connection, names)

    asyncio.run(body())


@pytest.mark.chaos
def test_the_counts_of_a_queue_whose_leader_is_busy_are_not_known(
    own_broker: RabbitProcess, unique: str
) -> None:
    """RabbitMQ answers zeros while the leader does not answer it, whatever the queue holds."""
    suspend = (
        f'P = whereis(binary_to_atom(<<"%2F_{unique}">>)), erlang:suspend_process(P), '
        "timer:sleep(2000), erlang:resume_process(P)."
    )

    async def body() -> None:
        names = Topology(unique, f"{unique}.in", f"{unique}.out", (1,))
        async with await connect([own_broker.url], Tls()) as connection:
            await declare(connection, names)
            channel = await connection.channel()
            channel.raw.basic_publish("", unique, b"", pika.BasicProperties(delivery_mode=2))
            await until(lambda: _holds(connection, unique, 1))
            busy = asyncio.create_task(asyncio.to_thread(own_broker.ctl, "eval", suspend))
            seen = set()
            while not busy.done():
                seen.add(await count(channel, unique))
                await asyncio.sleep(0.05)
            assert {Counts(1, 0, known=True), Counts(0, 0, known=False)} == seen
            assert 1 == await count_messages(channel, unique)
            await remove(connection, names)

    asyncio.run(body())


def test_using_the_dead_letters_removes_none(amqp_url: str, unique: str) -> None:
    """A dead letter is read and given back, with body and headers; an empty queue is left as it is."""

    async def body() -> None:
        names = Topology(unique, f"{unique}.in", f"{unique}.out", (1,))
        async with await connect([amqp_url], Tls()) as connection:
            await declare(connection, names)
            try:
                await renew_dead(connection, names)
                channel = await connection.channel()
                properties = pika.BasicProperties(delivery_mode=2, headers={"dl-code": "x"})
                for body in (b"0", b"1"):
                    channel.raw.basic_publish("", names.dead, body, properties)
                await until(lambda: _holds(connection, names.dead, 2))
                for _ in range(3):
                    await renew_dead(connection, names)
                    await until(lambda: _holds(connection, names.dead, 2))
                assert READS_LIMIT > 3
            finally:
                await remove(connection, names)

    asyncio.run(body())


async def _holds(connection: BrokerConnection, queue: str, count: int) -> bool:
    channel = await connection.channel()
    frame = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
    await channel.close()
    return int(frame.method.message_count) == count


async def _exists(connection: BrokerConnection, queue: str) -> bool:
    try:
        await _holds(connection, queue, 0)
    except ChannelClosed:
        return False
    return True


async def _published(connection: BrokerConnection, exchange: str, number: int) -> bool:
    """Publish an event; False where the exchange is not bound yet."""
    event = message(1_000 + number)
    properties = pika.BasicProperties(content_type=event.content_type, delivery_mode=2)
    publisher = await Publisher.open(await connection.channel())
    try:
        await publisher.publish(exchange, "snapshot.completed", event.body, properties)
    except Unroutable:
        return False
    return True


def _made(emulator: Emulator, count: int) -> bool:
    return len(emulator.backups()) == count
