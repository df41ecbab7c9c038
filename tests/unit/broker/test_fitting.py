"""Unit tests of ``fitting``: it changes a dead letter's headers so that they can be sent in one frame."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pika.data
import pytest
from pika.frame import Header

from events.properties import TEXTS
from handler.broker.fitting import fitting, header_room

FRAME = 131_072
ROOM = FRAME - 4_096
FRAMES = (4_096, 8_192, 65_536, FRAME)
"""The least that AMQP allows, the least of RabbitMQ 4, and the usual one."""
LONGEST = dict.fromkeys(("content_type", *TEXTS), "ü" * 127)


def _size(headers: dict[str, Any]) -> int:
    pieces: list[bytes] = []
    return int(pika.data.encode_table(pieces, headers))


SENDS_DOUBLES = not pika.__version__.startswith("1.4.")
"""pika 1.5 sends a double as one."""


@pytest.mark.parametrize(
    "value",
    ["text", b"\xff", 1, -(2**63), True, None, [1, ["a"]], {"a": {"b": 1}}, datetime(2026, 1, 1, tzinfo=UTC)],
    ids=repr,
)
def test_a_header_that_pika_can_send_is_unchanged(value: object) -> None:
    """``fitting`` does not change a header that pika can send."""
    assert {"own": value} == fitting({"own": value}, ROOM)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.5, "2.5"), (2**64, str(2**64)), (Decimal("1E-300"), "1E-300"), (float("nan"), "nan")],
    ids=["double", "unsigned", "decimal", "nan"],
)
def test_a_value_that_pika_can_only_receive_becomes_text(value: object, text: str) -> None:
    """Values that pika cannot send become text, also in tables and lists, so that pika can send the table."""
    headers = {"own": value, "deep": {"list": [value]}}
    sent = fitting(headers, ROOM)
    kept = value if SENDS_DOUBLES and isinstance(value, float) else text
    assert {"own": kept, "deep": {"list": [kept]}} == sent
    assert 0 < _size(sent)


def _nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "headers",
    [
        {"deep": _nested(486)},
        {"deep": _nested(100_000)},
        {"k" * 256: 1},
        {"lone surrogate": "\ud800"},
        {"nan": Decimal("NaN")},
        {"inside": {"k" * 256: 1}},
        {"large": 10**400},
        {"early": datetime(1, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda headers: next(iter(headers))[:10],
)
def test_no_header_can_keep_a_message_from_being_dead_lettered(headers: dict[str, Any]) -> None:
    """A bad header becomes text or is left out, and the dead letter keeps its category."""
    sent = fitting({**headers, "dl-category": "invalid"}, ROOM)
    assert "invalid" == sent["dl-category"]
    assert 0 < _size(sent) < FRAME


def test_a_header_that_is_left_out_is_named() -> None:
    """The dead letter names each header that it lacks, for the operator."""
    assert "deep" == fitting({"deep": _nested(486), "own": 1}, ROOM)["dl-dropped-headers"]


def test_a_table_of_kept_headers_is_left_out_before_the_reason() -> None:
    """Original headers that a producer filled the frame with are left out and named; the category is kept."""
    sent = fitting({"dl-original-headers": {"CC": ["x" * 200_000]}, "dl-category": "quota"}, ROOM)
    assert {"dl-category": "quota", "dl-dropped-headers": "dl-original-headers"} == sent


def test_headers_fit_one_frame() -> None:
    """The largest headers are left out and named until the others fit one frame; the category is kept."""
    own = {f"own-{number}": "x" * 30_000 for number in range(6)}
    sent = fitting({**own, "small": 1, "dl-category": "refused", "dl-message": "y" * 1024}, ROOM)
    assert _size(sent) < FRAME
    assert ("refused", 1) == (sent["dl-category"], sent["small"])
    assert sent["dl-dropped-headers"].startswith("own-")


@pytest.mark.parametrize("others", [{}, LONGEST], ids=["no properties", "the longest properties"])
@pytest.mark.parametrize(
    "own",
    [
        {"large": "x" * 200_000},
        {f"own-{number}": "x" * 900 for number in range(400)},
        {f"{number:0>250}": 1 for number in range(2_000)},
        {"table": {"ü" * 100: ["x" * 50] * 20}},
    ],
    ids=["one large", "many", "long names", "a table"],
)
@pytest.mark.parametrize("frame_max", FRAMES)
def test_a_content_header_fits_the_frame_that_was_agreed(
    frame_max: int, own: dict[str, Any], others: dict[str, str]
) -> None:
    """A dead letter's content header is one frame of at most the agreed size, and says why and what it is."""
    reasons = {
        "dl-category": "malformed",
        "dl-event-id": "e" * 36,
        "dl-message": "ü" * 1024,
        "dl-volume-id": "ü" * 256,
        "dl-snapshot-id": "ü" * 256,
        "dl-dropped-headers": "ü" * 1024,
    }
    properties = pika.BasicProperties(**others)
    properties.headers = fitting({**own, **reasons}, header_room(frame_max, properties))

    assert len(Header(1, 10, properties).marshal()) <= frame_max
    assert ("malformed", "e" * 36) == (properties.headers["dl-category"], properties.headers["dl-event-id"])


@pytest.mark.parametrize("frame_max", FRAMES)
def test_all_of_the_frame_is_used(frame_max: int) -> None:
    """A header of the original that just fits into the frame is kept, one of a byte more is left out."""
    properties = pika.BasicProperties(message_id="m")
    room = header_room(frame_max, properties)
    exact = "x" * (room - len("\x03ownS") - 4)

    properties.headers = fitting({"own": exact}, room)

    assert frame_max == len(Header(1, 10, properties).marshal())
    assert {"dl-dropped-headers": "own"} == fitting({"own": exact + "x"}, room)
