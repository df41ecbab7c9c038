"""A worker starts on a broker that cannot have its queues, or that is no RabbitMQ: a twin of each."""

import asyncio
import logging
from pathlib import Path

import pytest
from pika import spec

from handler import bootstrap
from handler.errors import SettingsError
from handler.settings import Settings, load_settings
from handler.worker.wiring import make_worker
from tests.patience import patient
from tests.twins.amqp import AmqpTwin, Refusal

INVALID = "PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'q' in vhost '/'"
LIMIT = "PRECONDITION_FAILED - cannot declare queue 'q' in vhost '/': queue limit in vhost is reached"
RIGHTS = "ACCESS_REFUSED - configure access to queue 'q' in vhost '/' refused for user 'guest'"


def settings(twin: AmqpTwin, folder: Path, queue_type: str = "quorum") -> Settings:
    """Return a worker's settings for this broker."""
    return load_settings(
        amqp_url=twin.url,
        queue_type=queue_type,
        vbs_endpoint="http://127.0.0.1:9",
        ledger_url=f"sqlite:///{folder}/ledger.db",
    )


async def work(of: Settings, *, until: str = "") -> None:
    """Run a worker until it ends, or until it has logged the action ``until``."""
    stop = asyncio.Event()

    def hear(record: logging.LogRecord) -> bool:
        if getattr(record, "action", "") == until:
            stop.set()
        return True

    logger = logging.getLogger("handler.worker.worker")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addFilter(hear)
    try:
        async with asyncio.timeout(patient(20)), bootstrap.parts(of) as parts:
            await make_worker(parts).run(stop)
    finally:
        logger.removeFilter(hear)
        logger.setLevel(level)


@pytest.mark.parametrize("version", ["3.8.35", "3.9.29", "3.8.9+beta", "3.9"])
def test_a_version_without_these_quorum_queues_ends_the_worker(version: str, tmp_path: Path) -> None:
    """The worker ends with one line that names the version and QUEUE_TYPE=classic, and declares nothing."""

    async def run() -> None:
        async with AmqpTwin(version=version) as twin:
            with pytest.raises(SettingsError) as error:
                await work(settings(twin, tmp_path))
            [line] = str(error.value).splitlines()
            assert line.startswith(f"QUEUE_TYPE: RabbitMQ {version} has no quorum queues with a message TTL")
            assert "set QUEUE_TYPE=classic" in line
            assert "Queue.Declare" not in twin.heard
            assert 1 == twin.connections

    asyncio.run(run())


def test_classic_queues_are_declared_on_an_old_version(tmp_path: Path) -> None:
    """With QUEUE_TYPE=classic the worker starts on RabbitMQ 3.8."""

    async def run() -> None:
        async with AmqpTwin(version="3.8.35") as twin:
            await work(settings(twin, tmp_path, "classic"), until="broker.connected")
            assert "Queue.Declare" in twin.heard

    asyncio.run(run())


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            Refusal(spec.Queue.Declare, 406, INVALID, "x-dead-letter-strategy"),
            "QUEUE_TYPE: the broker refuses",
        ),
        (
            Refusal(spec.Queue.Declare, 406, "PRECONDITION_FAILED - queue limit reached"),
            "QUEUE_TYPE, SNAPSHOT",
        ),
        (Refusal(spec.Queue.Declare, 403, RIGHTS), "AMQP_URL: ACCESS_REFUSED"),
        (Refusal(spec.Exchange.Bind, 540, "NOT_IMPLEMENTED - exchange.bind"), "AMQP_URL: NOT_IMPLEMENTED"),
        (Refusal(spec.Exchange.Declare, 503, "COMMAND_INVALID - unknown type"), "AMQP_URL: COMMAND_INVALID"),
    ],
)
def test_a_declaration_that_is_refused_for_good_ends_the_worker(
    refusal: Refusal, says: str, tmp_path: Path
) -> None:
    """The worker ends with one line that names a setting, and does not repeat what no repetition changes."""

    async def run() -> None:
        async with AmqpTwin(product="AMQP-0-9-1", version="1.0", refusals=[refusal]) as twin:
            with pytest.raises(SettingsError) as error:
                await work(settings(twin, tmp_path))
            [line] = str(error.value).splitlines()
            assert line.startswith(says)
            assert refusal.text in line
            assert 1 == twin.connections

    asyncio.run(run())


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (404, "NOT_FOUND - home node 'rabbit@b' of durable queue 'q' in vhost '/' is down or inaccessible"),
        (541, "INTERNAL_ERROR - Cannot declare a queue 'q' on node 'rabbit@a': {error,timeout}"),
    ],
)
def test_a_declaration_that_fails_for_now_is_repeated(code: int, text: str, tmp_path: Path) -> None:
    """Where a node of the cluster is down, the worker tries again."""

    async def run() -> None:
        async with AmqpTwin(refusals=[Refusal(spec.Queue.Declare, code, text)]) as twin:
            await work(settings(twin, tmp_path), until="broker.lost")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("product", "queue_type", "says"),
    [
        ("LavinMQ", "quorum", "LavinMQ 2.1.0 makes an ordinary durable queue of each quorum queue"),
        ("LavinMQ", "classic", "LavinMQ 2.1.0: only RabbitMQ is tested"),
        ("AMQP-0-9-1", "classic", "AMQP-0-9-1 2.1.0: only RabbitMQ is tested"),
        ("", "quorum", "an unknown broker 2.1.0: only RabbitMQ is tested"),
    ],
)
def test_another_product_is_warned_of_at_start(
    product: str, queue_type: str, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker starts on a broker that is no RabbitMQ, and says what is not known of it."""

    async def run() -> None:
        async with AmqpTwin(product=product, version="2.1.0") as twin:
            await work(settings(twin, tmp_path, queue_type), until="broker.connected")

    asyncio.run(run())
    [line] = [each.message for each in caplog.records if getattr(each, "action", "") == "broker.untested"]
    assert line.startswith(says)
