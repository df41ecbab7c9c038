"""Unit tests of three private parts of pika that we use, for which its minor version is pinned."""

from pika.adapters import asyncio_connection
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

EXPLANATION = "this pika has no {}: rewrite {} before the pin in pyproject.toml is raised"


def test_pika_has_the_adapter_that_our_stream_replaces() -> None:
    """``handler/broker/stream.py`` derives from the adapter between pika and asyncio."""
    missing = EXPLANATION.format("_AsyncioIOServicesAdapter", "handler/broker/stream.py")
    assert hasattr(asyncio_connection, "_AsyncioIOServicesAdapter"), missing


def test_pika_can_drop_a_connection() -> None:
    """``BrokerConnection.drop`` ends a connection whose broker does not answer."""
    missing = EXPLANATION.format("_terminate_stream", "BrokerConnection.drop in handler/broker/connection.py")
    assert callable(getattr(AsyncioConnection, "_terminate_stream", None)), missing


def test_pika_remembers_cancelled_consumers() -> None:
    """``Consumer`` removes its tag from ``Channel._cancelled``, so that pika rejects no late delivery."""
    missing = EXPLANATION.format("Channel._cancelled", "Consumer._cancel in handler/broker/consumer.py")
    assert "_cancelled" in Channel.__init__.__code__.co_names, missing
