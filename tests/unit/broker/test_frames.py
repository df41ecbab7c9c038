"""Unit tests of ``PublishFrames``: the bytes are those that pika makes of the same message."""

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import spec
from pika.frame import Body, Header, Method

from handler.broker.frames import Prepared, PublishFrames, prepare

FRAME_MAX = 64
SHORT = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20)
PROPERTIES = st.builds(
    pika.BasicProperties,
    content_type=st.none() | SHORT,
    headers=st.none() | st.dictionaries(SHORT, SHORT, max_size=2),
    delivery_mode=st.none() | st.just(2),
    message_id=st.none() | SHORT,
    expiration=st.none() | st.just("0"),
)


def by_pika(channel: int, exchange: str, key: str, body: bytes, properties: pika.BasicProperties) -> bytes:
    """Return the frames that pika's ``basic_publish`` sends."""
    size = FRAME_MAX - 8
    frames = [
        Method(channel, spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True)),
        Header(channel, len(body), properties),
        *(Body(channel, body[start : start + size]) for start in range(0, len(body), size)),
    ]
    return b"".join(frame.marshal() for frame in frames)


@given(
    st.integers(1, 65_535),
    st.lists(st.tuples(SHORT, SHORT, st.binary(max_size=300), PROPERTIES), min_size=1, max_size=4),
)
def test_the_frames_are_those_of_pika(
    channel: int, messages: list[tuple[str, str, bytes, pika.BasicProperties]]
) -> None:
    """Messages of any size to any route have pika's bytes, also where a route is used again."""
    frames = PublishFrames(channel, FRAME_MAX)
    for message in [*messages, *messages]:
        assert by_pika(channel, *message) == frames.make(*message)


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=255))
def test_prepared_properties_are_those_of_pika(message_id: str) -> None:
    """Properties that were encoded before the message id was known have pika's bytes."""
    given_once = {"content_type": "application/json", "delivery_mode": 2, "type": "t", "app_id": "a"}
    whole = pika.BasicProperties(message_id=message_id, **given_once)
    prepared: Prepared = prepare(pika.BasicProperties(**given_once))(message_id)
    assert (b"".join(whole.encode()), message_id) == (b"".join(prepared.encode()), prepared.message_id)


def test_many_routes_keep_the_memory_small() -> None:
    """Frames of routes that are used once, such as an operator's, are forgotten."""
    frames = PublishFrames(1, FRAME_MAX)
    for number in range(1_000):
        frames.make("", f"queue-{number}", b"", pika.BasicProperties())
    assert len(frames._methods) <= 64


@pytest.mark.parametrize("queue", ["q" * 256, "ü" * 128])
def test_a_name_that_is_too_long_is_refused_as_by_pika(queue: str) -> None:
    """A routing key of more than 255 bytes raises what pika raises."""
    with pytest.raises(pika.exceptions.ShortStringTooLong):
        PublishFrames(1, FRAME_MAX).make("", queue, b"", pika.BasicProperties())
