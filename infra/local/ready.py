"""Is a broker there, and does it let us in?"""

import contextlib
import socket
import time
from collections.abc import Callable

import pika
import pika.exceptions

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"  # the server's answer is connection.start, and a method frame starts with this
POLL_SECONDS = 0.05


class BrokerUnavailable(RuntimeError):
    """No broker can be had; the message says why and what to do."""


def speaks_amqp(host: str, port: int, *, timeout: float = 1.0) -> bool:
    """Whether an AMQP 0-9-1 server answers there; much cheaper than signing in."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(PROTOCOL_HEADER)
            return connection.recv(1) == METHOD_FRAME
    except OSError:
        return False


def server_version(url: str) -> str:
    """Sign in once and return what the server says of itself, like `RabbitMQ 3.10.8`.

    Raises:
        pika.exceptions.AMQPError: nobody there, or not let in.
    """
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = 5
    parameters.stack_timeout = 10
    connection = pika.BlockingConnection(parameters)
    with contextlib.closing(connection):
        properties = connection._impl.server_properties or {}  # noqa: SLF001 - pika shows it nowhere else
    return f"{properties.get('product')} {properties.get('version')}"


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Ask until it holds, for at most so many seconds; whether it held."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True
