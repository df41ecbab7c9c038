"""The start of a worker: checks of queues, a missing broker, and warnings."""

import asyncio
import logging
from pathlib import Path

import pika
import pytest

from handler import bootstrap
from handler.errors import SettingsError
from handler.settings import Settings, load_settings
from handler.worker.wiring import make_worker
from infra.local.broker import Broker
from infra.local.server import free_ports

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(broker: Broker, unique: str, tmp_path: Path) -> Settings:
    """Return the settings of a worker with unique names."""
    return load_settings(
        amqp_url=broker.url,
        snapshot_exchange=f"{unique}.snapshots",
        snapshot_queue=unique,
        result_exchange=f"{unique}.backups",
        wait_ladder="5",
        vbs_endpoint="http://127.0.0.1:9",
        ledger_url=f"sqlite:///{tmp_path}/ledger.db",
    )


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Run a worker until it is stopped."""
    async with bootstrap.parts(settings) as parts:
        await make_worker(parts).run(stop)


@pytest.mark.parametrize(
    ("durable", "arguments", "words"),
    [
        (False, {}, "durable is false"),
        (True, {}, "x-dead-letter-exchange is none"),
        (True, {"x-overflow": "drop-head", "x-max-length": 1}, "x-dead-letter-exchange is none"),
    ],
)
def test_a_queue_that_would_lose_messages_is_refused(
    settings: Settings, unique: str, broker: Broker, durable: bool, arguments: dict[str, object], words: str
) -> None:
    """The worker ends with one line that names the settings and the difference, and does not retry."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.queue_declare(unique, durable=durable, arguments=arguments)
        try:
            with pytest.raises(SettingsError, match=rf"QUEUE_TYPE, SNAPSHOT_QUEUE: .*{words}"):
                asyncio.run(asyncio.wait_for(work(settings, asyncio.Event()), 30))
        finally:
            channel.queue_delete(unique)


def test_a_worker_without_a_broker_keeps_trying(settings: Settings) -> None:
    """The worker keeps connecting, and can be stopped meanwhile."""
    down = settings.model_copy(
        update={"amqp_url": load_settings(amqp_url=f"amqp://127.0.0.1:{free_ports(1)[0]}").amqp_url}
    )

    async def until_it_has_said_so() -> None:
        stop, said = asyncio.Event(), asyncio.Event()

        def hear(record: logging.LogRecord) -> bool:
            if "not connected to the broker" in record.getMessage():
                said.set()
            return True

        worker_log = logging.getLogger("handler.worker.worker")
        worker_log.addFilter(hear)
        try:
            working = asyncio.create_task(work(down, stop))
            await said.wait()
            assert not working.done()
            stop.set()
            await working
        finally:
            worker_log.removeFilter(hear)

    asyncio.run(asyncio.wait_for(until_it_has_said_so(), 30))


def test_classic_queues_are_logged_at_start(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """With QUEUE_TYPE=classic, each start logs a warning that messages may be lost."""
    stop = asyncio.Event()
    stop.set()

    asyncio.run(work(settings.model_copy(update={"queue_type": "classic"}), stop))

    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert any("QUEUE_TYPE=classic" in text and "lost" in text for text in warnings), warnings
