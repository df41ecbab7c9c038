"""Helpers that read the samples in ``tests/data/events``: each file is the message body of one form."""

import json
from pathlib import Path
from typing import Any

from events.decode import Event, decode
from events.errors import EventError
from events.message import Message
from events.snapshot import SnapshotEvent

DATA = Path(__file__).parents[2] / "data"
LIMIT = 1_048_576

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

COMPLETED = (
    "asynchronous",
    "cinder-bare",
    "cinder-wrapped",
    "cloudevents",
    "data",
    "eventgrid-events",
    "kafka",
    "rabbitmq-exchange",
    "rabbitmq-flat",
    "rabbitmq-objects",
    "rabbitmq-topic",
    "rocketmq",
    "smn",
)
TRACES = ("cts-trace", "cts-trigger", "cts-otc-trigger", "cts-job", "eventgrid-trace", "eventgrid-evs")
REQUESTED = (*TRACES, "cinder-managed", "kubernetes-watch", "kubernetes-knative")
FOREIGN = ("timer", "foreign-backup", "kubernetes-pod")


def load(name: str) -> Any:
    """Return a sample as JSON."""
    return json.loads((DATA / "events" / f"{name}.json").read_text(encoding="utf-8"))


def notifications() -> dict[str, dict[str, Any]]:
    """Return the notifications captured from Cinder, by case."""
    found: dict[str, dict[str, Any]] = json.loads(
        (DATA / "cinder" / "notifications.json").read_text(encoding="utf-8")
    )
    return found


def message(value: object, **headers: object) -> Message:
    """Return a message with the value as its JSON body."""
    return Message(json.dumps(value).encode(), "application/json", headers)


def read(value: object, **headers: object) -> Event:
    """Decode a JSON value."""
    return decode(message(value, **headers), max_bytes=LIMIT)


def read_snapshot(value: object, **headers: object) -> SnapshotEvent:
    """Decode a JSON value that is a snapshot's event."""
    event = read(value, **headers)
    assert isinstance(event, SnapshotEvent)
    return event


def refusal(body: bytes, *, max_bytes: int = LIMIT, headers: dict[str, Any] | None = None) -> EventError:
    """Return the error that a body is refused with."""
    try:
        event = decode(Message(body, headers=headers or {}), max_bytes=max_bytes)
    except EventError as error:
        return error
    raise AssertionError(f"not refused: {event}")


def refusal_of(value: object) -> EventError:
    """Return the error that a JSON value is refused with."""
    return refusal(json.dumps(value).encode())
