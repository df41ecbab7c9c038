"""Unit tests of ``Consumer``: which message it makes of a delivery."""

from types import SimpleNamespace
from typing import Any, cast

import pika

from handler.broker.connection import Channel
from handler.broker.consumer import Consumer, Delivery


def test_short_strings_that_are_no_text_become_text() -> None:
    """A content type or header name that is not UTF-8 becomes text, since bytes would fail later."""
    raw = SimpleNamespace(add_on_cancel_callback=lambda _: None)
    seen: list[Delivery] = []
    consumer = Consumer(cast("Channel", SimpleNamespace(raw=raw)), "q", seen.append, lambda: None)
    properties: Any = pika.BasicProperties()
    properties.content_type, properties.headers = b"\xff", {b"\xffown": b"\xff", "plain": 1}
    consumer._deliver(raw, SimpleNamespace(delivery_tag=1, redelivered=False), properties, b"{}")
    [delivery] = seen
    assert ("\ufffd", {"\ufffdown": b"\xff", "plain": 1}) == (
        delivery.message.content_type,
        delivery.message.headers,
    )
