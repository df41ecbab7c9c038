"""Unit tests of envelopes with one message, with several, and with none."""

import json
from typing import Any

import pytest

from events.decode import MAX_MESSAGES, decode, unpack
from events.errors import EventError
from events.message import Message
from events.snapshot import SnapshotEvent
from tests.unit.events.forms import COMPLETED, LIMIT, REQUESTED, load, read, read_snapshot, refusal_of

CLOUDEVENT = load("cloudevents")


def trigger(*messages: object) -> dict[str, Any]:
    """Return a trigger's envelope."""
    return {"trigger_type": "RABBITMQ", "records": [{"messages": list(messages)}]}


def smn(*messages: str) -> dict[str, Any]:
    """Return SMN's envelope with one record for each text."""
    return {
        "record": [{"smn": {"message": text, "message_id": f"id-{n}"}} for n, text in enumerate(messages)]
    }


@pytest.mark.parametrize("name", COMPLETED + REQUESTED)
def test_the_function_reads_a_call_as_the_worker_reads_a_message(name: str) -> None:
    """Function and worker decode the same input to the same event, with the same id."""
    [message] = unpack(load(name))

    fields = ["id", "snapshot", "proves", "form", "type"]
    here, there = decode(message, max_bytes=LIMIT), read(load(name))
    if name == "data":  # its id is derived from the bytes, which the function does not receive
        fields = fields[1:]
    assert [getattr(there, field) for field in fields] == [getattr(here, field) for field in fields]


def test_a_triggers_messages_are_the_bodies_of_the_queue() -> None:
    """The bodies unpacked from a trigger's texts are those that were published, byte for byte."""
    texts = ['{"a": 1}', "plain text ü", " [] "]

    assert [Message(text.encode()) for text in texts] == unpack(trigger(*texts))


def test_each_message_of_a_call_is_decoded_alone() -> None:
    """One malformed message of a call does not affect the others."""
    good, bad = unpack(load("rabbitmq-several"))

    assert isinstance(decode(good, max_bytes=LIMIT), SnapshotEvent)
    with pytest.raises(EventError, match="not_json"):
        decode(bad, max_bytes=LIMIT)


def nested(depth: int) -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circular() -> list[Any]:
    """Return a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "odd",
    [{1, 2}, b"bytes", 10**5000, nested(100_000), circular(), {"x": {3}}, {(): 1}],
    ids=lambda odd: type(odd).__name__,
)
def test_a_value_that_json_cannot_represent_does_not_affect_other_messages(odd: object) -> None:
    """A value that JSON cannot represent becomes one refused message; the other message is decoded."""
    good, bad = unpack(trigger("text", odd))

    assert Message(b"text") == good
    with pytest.raises(EventError, match="not_json"):
        decode(bad, max_bytes=LIMIT)


def test_several_records_of_smn_keep_their_ids() -> None:
    """A notification without an id gets the id of its record."""
    data = json.dumps(load("data"))

    events = [decode(message, max_bytes=LIMIT) for message in unpack(smn(data, data))]

    assert ["id-0", "id-1"] == [event.id for event in events if isinstance(event, SnapshotEvent)]


def test_several_events_of_eventgrid_are_unpacked() -> None:
    """The list of events of EventGrid's publishing API becomes one message for each event."""
    events = [{**CLOUDEVENT, "id": name} for name in "abc"]

    found = [decode(message, max_bytes=LIMIT) for message in unpack({"events": events})]

    assert ["a", "b", "c"] == [event.id for event in found if isinstance(event, SnapshotEvent)]


def test_the_record_of_a_call_is_unpacked_to_the_calls_messages() -> None:
    """The record of a failed asynchronous invocation, with its payload as text, gives the call's messages."""
    record = {"request_context": {}, "request_payload": json.dumps(trigger("a", "b"))}

    assert [Message(b"a"), Message(b"b")] == unpack(record)


@pytest.mark.parametrize(
    "value", [{"events": [CLOUDEVENT, CLOUDEVENT]}, trigger("{}", "{}"), smn("{}", "{}")]
)
def test_a_queues_message_with_several_events_is_refused(value: dict[str, Any]) -> None:
    """A message from a queue with several events is refused, since each event has its own outcome."""
    assert ("malformed", "several_events") == (refusal_of(value).category, refusal_of(value).code)


@pytest.mark.parametrize("value", [{"events": []}, trigger(), {"record": []}])
def test_an_envelope_with_nothing_inside_is_refused_in_a_queue_and_nothing_in_a_call(
    value: dict[str, Any],
) -> None:
    """A queue's message that is an empty envelope is refused; a call that is one has no messages."""
    assert ("no_event", []) == (refusal_of(value).code, unpack(value))


@pytest.mark.parametrize(
    "value",
    [
        {"trigger_type": "RABBITMQ"},
        {"trigger_type": "KAFKA", "records": {}},
        {"trigger_type": "KAFKA", "records": ["text"]},
        {"trigger_type": "KAFKA", "records": [{"messages": "text"}]},
        {"record": ["text"]},
        {"record": [{"smn": {"message": 7}}]},
        {"request_context": {}},
        {"request_context": {}, "request_payload": "not json"},
        {"trigger_type": ["RABBITMQ"]},
        "text",
        None,
        7,
        [],
        [load("cloudevents"), "text"],
    ],
)
def test_an_event_that_cannot_be_split_is_one_refused_message(value: object) -> None:
    """A function's event that cannot be split becomes one message, which is refused: nothing is lost."""
    [message] = unpack(value)

    with pytest.raises(EventError):
        decode(message, max_bytes=LIMIT)


def test_a_call_with_too_many_messages_is_one_refused_message() -> None:
    """A call with more than the allowed number of messages becomes one message, which is refused."""
    assert MAX_MESSAGES == len(unpack(trigger(*["x"] * MAX_MESSAGES)))
    assert 1 == len(unpack(trigger(*["x"] * (MAX_MESSAGES + 1))))


@pytest.mark.parametrize("how", ["a call", "a message", "the record of a call"])
def test_a_batch_in_a_call_becomes_its_events(how: str) -> None:
    """Each event of a batch becomes a message with the bytes that it has in the batch."""
    texts = [json.dumps({**CLOUDEVENT, "id": name}, indent=1) for name in "abc"]
    batch = "\ufeff [" + " ,\n".join(texts) + " ]\n"
    value = {
        "a call": [json.loads(text) for text in texts],
        "a message": trigger("{}", batch),
        "the record of a call": {"request_context": {}, "request_payload": trigger("{}", batch)},
    }[how]

    found = unpack(value)

    if how != "a call":
        assert [Message(text.encode()) for text in ("{}", *texts)] == found
    events = [decode(message, max_bytes=LIMIT) for message in found[-3:]]
    assert ["a", "b", "c"] == [event.id for event in events if isinstance(event, SnapshotEvent)]


@pytest.mark.parametrize("batch", ["[]", "[1]", '[{"a": 1}, 2]', '[{"a": 1},]', '[{"a": 1}', '[{"a": ]'])
def test_what_is_no_batch_stays_one_refused_message(batch: str) -> None:
    """A message that is an array of other things, or is cut off, stays as it is and is refused."""
    [message] = unpack(trigger(batch))

    assert batch.encode() == message.body
    with pytest.raises(EventError, match=r"not_json|not_object"):
        decode(message, max_bytes=LIMIT)


def test_one_bad_event_of_a_batch_is_refused_alone() -> None:
    """An event of a batch that has a key twice is refused; the one beside it is decoded."""
    bad, good = unpack(trigger(f'[{{"a": 1, "a": 2}}, {json.dumps(CLOUDEVENT)}]'))

    assert isinstance(decode(good, max_bytes=LIMIT), SnapshotEvent)
    with pytest.raises(EventError, match="duplicate_key"):
        decode(bad, max_bytes=LIMIT)


def test_a_batch_without_room_is_refused_alone() -> None:
    """A batch that would exceed the number of messages in a call stays whole, and its neighbours are read."""
    several = "[" + ",".join(["{}"] * 6_000) + "]"

    found = unpack(trigger("{}", several, several, "{}"))

    assert 6_000 + 3 == len(found)
    assert several.encode() == found[-2].body
    with pytest.raises(EventError, match="several_events: a batch of 6000 events: publish each alone"):
        decode(found[-2], max_bytes=LIMIT)


@pytest.mark.parametrize("content_type", ["application/cloudevents-batch+json", "application/json", None])
def test_a_batch_in_a_queue_is_refused(content_type: str | None) -> None:
    """A queue's message that is a batch, even of one event, is refused with what to do instead."""
    body = json.dumps([CLOUDEVENT]).encode()

    with pytest.raises(EventError, match="several_events: a batch of 1 events: publish each alone"):
        decode(Message(body, content_type), max_bytes=LIMIT)


def test_a_lone_surrogate_in_a_call_is_refused_not_lost() -> None:
    """A lone surrogate, which Python's parser accepts, becomes a message that our parser refuses."""
    for message in unpack(trigger("\ud800", {"x": "\ud800"})):
        with pytest.raises(EventError, match=r"not_utf8|not_json"):
            decode(message, max_bytes=LIMIT)


def test_envelopes_are_unpacked_to_a_depth_of_four() -> None:
    """Four envelopes inside each other are unpacked, five are refused."""
    value: dict[str, Any] = load("data")
    for _ in range(4):
        value = smn(json.dumps(value))

    assert "id-0" == read_snapshot(value).id
    assert "too_deep" == refusal_of(smn(json.dumps(value))).code
