"""Checks whether a broker answers and accepts a sign-in."""

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
    """No broker is available; the message says why and what to do."""


def speaks_amqp(host: str, port: int, *, timeout: float = 1.0) -> bool:
    """Return whether an AMQP 0-9-1 server answers there; this takes much less time than signing in."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(PROTOCOL_HEADER)
            return connection.recv(1) == METHOD_FRAME
    except OSError:
        return False


def server_version(url: str) -> str:
    """Sign in once and return the product and version that the server reports, such as `RabbitMQ 3.10.8`.

    Raises:
        pika.exceptions.AMQPError: no server answers, or it refuses the sign-in.
    """
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = 5
    parameters.stack_timeout = 10
    connection = pika.BlockingConnection(parameters)
    with contextlib.closing(connection):
        properties = connection._impl.server_properties or {}  # noqa: SLF001 - pika shows it nowhere else
    return f"{properties.get('product')} {properties.get('version')}"


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until the condition is true, for at most this many seconds; return whether it became true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True
