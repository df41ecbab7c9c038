"""Unit tests of the properties that are read from a delivery and published again."""

from typing import Any

import pika
import pytest

from events.headers import MAX_DEPTH
from events.message import State
from handler.backup.received import Received
from handler.broker.properties import received, to_publish


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(("redelivered", "count"), [(True, 7), (False, 0)])
def test_a_delivery_count_is_kept_on_a_redelivery_only(redelivered: bool, count: int) -> None:
    """A first delivery's count is ignored: the producer wrote it, and it could suggest a poison message."""
    properties = pika.BasicProperties(headers={"x-delivery-count": 7})
    assert count == received(properties, b"", redelivered=redelivered).delivery_count


def test_a_header_that_is_nested_too_deeply_is_named_and_left_out() -> None:
    """A header that is nested too deeply is left out, since later code would recurse as deeply."""
    headers = {"deep": _nested(MAX_DEPTH + 1), "flat": _nested(MAX_DEPTH)}
    message = received(pika.BasicProperties(headers=headers), b"", redelivered=False)
    assert (("deep",), ["flat"]) == (message.bad_headers, list(message.headers))


def test_every_property_is_read() -> None:
    """Every property of a delivery is kept except the delivery mode, which we always set."""
    given: dict[str, Any] = {
        "content_encoding": "gzip",
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "1",
        "message_id": "m",
        "type": "t",
        "user_id": "u",
        "app_id": "a",
        "cluster_id": "l",
        "priority": 1,
        "timestamp": 2,
    }
    properties = pika.BasicProperties(**given, delivery_mode=2)
    assert given == received(properties, b"", redelivered=False).properties


def test_a_property_that_is_not_utf_8_can_be_published_again() -> None:
    """A message id of 255 invalid bytes can be encoded again, although its replacement text is longer."""
    properties = pika.BasicProperties()
    properties.message_id = b"\xff" * 255
    message = received(properties, b"", redelivered=False)
    assert to_publish(message, {}).encode()


@pytest.mark.parametrize(("count", "bounded"), [(-(2**31), 0), (2**62, 1_000_000)])
def test_a_delivery_count_is_bounded(count: int, bounded: int) -> None:
    """A delivery count is bounded, since on a classic queue the producer can set the header."""
    message = received(pika.BasicProperties(headers={"x-delivery-count": count}), b"", redelivered=True)
    assert bounded == message.delivery_count
    assert Received(message, State(1.0), message.delivery_count).parked()
