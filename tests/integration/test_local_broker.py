"""The private broker of a checkout: it starts, keeps what it confirmed, and leaves nothing behind."""

import os
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pika
import pytest

from infra.local.broker import Broker
from infra.local.ready import wait_until
from infra.local.server import RabbitProcess, running_server

pytestmark = pytest.mark.broker

PERSISTENT = pika.BasicProperties(delivery_mode=2)
PARENT = """
    import time
    from infra.local.server import running_server
    with running_server() as server:
        print(server.pid, server.folder, server.epmd_pid, flush=True)
        time.sleep(600)
"""


def _publish(url: str, queue: str, body: bytes) -> None:
    """Declare a quorum queue and return once the broker has confirmed one message in it."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)


def _take(url: str, queue: str) -> bytes | None:
    """The next message of a queue, acknowledged; None if none comes within ten seconds."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        for method, _, body in channel.consume(queue, inactivity_timeout=10):
            if method is not None:
                channel.basic_ack(method.delivery_tag)
            channel.cancel()
            return body
    return None


def _is_gone(pid: int | None) -> bool:
    """Whether no such process runs; one that only waits for its parent to notice counts as gone."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] in {"", "Z"}


def test_a_confirmed_message_comes_back_out(broker: Broker, unique: str) -> None:
    """The session's broker has quorum queues and confirms."""
    _publish(broker.url, unique, b"hello")

    assert b"hello" == _take(broker.url, unique)


def test_a_confirmed_message_survives_a_kill(own_broker: RabbitProcess, unique: str) -> None:
    """What was confirmed before SIGKILL is there after the start, on the same port."""
    _publish(own_broker.url, unique, b"still here")
    own_broker.wait_until_on_disk(unique)

    own_broker.kill()
    own_broker.start()

    assert b"still here" == _take(own_broker.url, unique)


def test_a_stopped_broker_comes_back_with_its_messages(own_broker: RabbitProcess, unique: str) -> None:
    """A restart in good order keeps port and data."""
    _publish(own_broker.url, unique, b"after the restart")

    own_broker.restart()

    assert b"after the restart" == _take(own_broker.url, unique)


def test_the_control_tool_reaches_it(own_broker: RabbitProcess) -> None:
    """`rabbitmqctl` talks to this server and no other."""
    assert "guest" in own_broker.ctl("list_users", "--no-table-headers")


def test_nothing_is_left_after_the_block() -> None:
    """Server, port mapper and folder end with the block."""
    with running_server() as server:
        pids, folder = (server.pid, server.epmd_pid), server.folder

    assert [True, True] == [_is_gone(pid) for pid in pids]
    assert not folder.exists()


def test_nothing_is_left_after_the_parent_is_killed(tmp_path: Path) -> None:
    """A parent that had no time to tidy up leaves no server, port mapper or folder either."""
    code = textwrap.dedent(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        server_pid, folder, epmd_pid = parent.stdout.readline().split()
        parent.kill()

    assert wait_until(lambda: not Path(folder).exists(), seconds=10)
    # The server is killed before its folder goes, but with its many threads it may die after it.
    assert wait_until(lambda: all(_is_gone(int(pid)) for pid in (server_pid, epmd_pid)), seconds=10)
