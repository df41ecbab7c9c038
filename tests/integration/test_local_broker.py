"""The private broker of a checkout: it starts, keeps confirmed messages, and leaves no process or file."""

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
    """Declare a quorum queue, and publish one message to it, confirmed."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)


def _take(url: str, queue: str) -> bytes | None:
    """Acknowledge and return the next message of a queue, or None if none arrives within ten seconds."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        for method, _, body in channel.consume(queue, inactivity_timeout=10):
            if method is not None:
                channel.basic_ack(method.delivery_tag)
            channel.cancel()
            return body
    return None


def _is_gone(pid: int | None) -> bool:
    """Return whether no such process runs; a zombie does not count as running."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] in {"", "Z"}


def test_a_confirmed_message_comes_back_out(broker: Broker, unique: str) -> None:
    """The session's broker confirms a publish to a quorum queue, and delivers the message."""
    _publish(broker.url, unique, b"hello")

    assert b"hello" == _take(broker.url, unique)


def test_a_confirmed_message_survives_a_kill(own_broker: RabbitProcess, unique: str) -> None:
    """A message that is on disk before SIGKILL is delivered after the next start, on the same port."""
    _publish(own_broker.url, unique, b"still here")
    own_broker.wait_until_on_disk(unique)

    own_broker.kill()
    own_broker.start()

    assert b"still here" == _take(own_broker.url, unique)


def test_a_stopped_broker_comes_back_with_its_messages(own_broker: RabbitProcess, unique: str) -> None:
    """A clean restart keeps port and messages."""
    _publish(own_broker.url, unique, b"after the restart")

    own_broker.restart()

    assert b"after the restart" == _take(own_broker.url, unique)


def test_rabbitmqctl_reaches_the_broker(own_broker: RabbitProcess) -> None:
    """`rabbitmqctl` lists the users of this server."""
    assert "guest" in own_broker.ctl("list_users", "--no-table-headers")


def test_no_process_or_folder_is_left_after_the_block() -> None:
    """Server, port mapper and folder end with the block."""
    with running_server() as server:
        pids, folder = (server.pid, server.epmd_pid), server.folder

    assert [True, True] == [_is_gone(pid) for pid in pids]
    assert not folder.exists()


def test_no_process_or_folder_is_left_after_the_parent_is_killed(tmp_path: Path) -> None:
    """Server, port mapper and folder are removed even if the parent process is killed."""
    code = textwrap.dedent(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        server_pid, folder, epmd_pid = parent.stdout.readline().split()
        parent.kill()

    assert wait_until(lambda: not Path(folder).exists(), seconds=10)
    # The server is killed before its folder is removed, but with its many threads it may end later.
    assert wait_until(lambda: all(_is_gone(int(pid)) for pid in (server_pid, epmd_pid)), seconds=10)
