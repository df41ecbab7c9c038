"""The broker in a container: it starts, accepts clients, and leaves no container behind."""

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pika
import pytest
from docker.client import DockerClient as Engine
from testcontainers.core.docker_client import DockerClient

from infra.local.broker import running_broker
from infra.local.container import require_image, running_container
from infra.local.ready import BrokerUnavailable, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]  # the image may have to be pulled first

PARENT = """
    import time
    from infra.local.container import running_container
    with running_container() as broker:
        print(broker.version, flush=True)
        time.sleep(600)
"""


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Yield a container engine that has the broker's image or can pull it."""
    try:
        require_image()
    except BrokerUnavailable as error:
        pytest.skip(str(error))
    with contextlib.closing(DockerClient().client) as engine:
        yield engine


def ours(engine: Engine) -> set[str]:
    """Return the names of all brokers' containers on this machine, including those of other programs."""
    found = engine.containers.list(all=True, filters={"name": "snapshot-backup-broker-"})
    return {container.name for container in found}


def test_where_an_engine_has_the_image_the_broker_is_a_container(engine: Engine, unique: str) -> None:
    """The broker in the container lets `guest` log in, and confirms a publish to a quorum queue."""
    with (
        running_broker() as broker,
        pika.BlockingConnection(pika.URLParameters(broker.url)) as connection,
    ):
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(unique, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", unique, b"hello", pika.BasicProperties(delivery_mode=2), mandatory=True)

        assert ("container", "RabbitMQ") == (broker.kind, broker.version.split()[0])


def test_no_container_is_left_after_the_block(engine: Engine) -> None:
    """The container ends with the block."""
    before = ours(engine)
    with running_container():
        started = ours(engine) - before

    assert started
    assert not started & ours(engine)


def test_no_container_is_left_after_the_parent_is_killed(engine: Engine) -> None:
    """The container ends even if its parent process is killed."""
    before = ours(engine)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT)], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("RabbitMQ ")
        started = ours(engine) - before
        parent.kill()

    assert started
    assert wait_until(lambda: not started & ours(engine), seconds=20)
