"""The AsyncAPI 3 document: channels, operations and messages on the broker, with the default names."""

from typing import Any, Final

from events import examples
from events.cloudevents import COMPLETED
from events.outcome import CONTENT_TYPE, PROBE, SOURCE, TYPES, Category

SNAPSHOT_EXCHANGE: Final = "snapshots"
RESULT_EXCHANGE: Final = "backups"
DEAD_QUEUE: Final = "snapshot-backup.dead"

Object = dict[str, Any]

_SNAPSHOTS: Final = (
    "Routing key of the exchange that SNAPSHOT_EXCHANGE names. What Cinder, CTS, EventGrid and Kubernetes "
    "publish about snapshots is read too, in their own forms."
)
_TEXT: Object = {"type": "string"}
_COUNT: Object = {"type": "integer", "minimum": 0}
_TIME: Object = {"type": "string", "format": "date-time"}
_DEAD_LETTER_HEADERS: Object = {
    "type": "object",
    "required": ["dl-category", "dl-event-id", "dl-dead-at", "dl-source-queue"],
    "properties": {
        "dl-category": {"type": "string", "enum": [category.value for category in Category]},
        "dl-code": _TEXT,
        "dl-status": {"type": "integer", "description": "The HTTP status, where there was one"},
        "dl-message": _TEXT,
        "dl-attempts": _COUNT,
        "dl-event-id": {"type": "string", "description": "The outcome's correlationid"},
        "dl-project-id": _TEXT,
        "dl-volume-id": _TEXT,
        "dl-snapshot-id": _TEXT,
        "dl-first-seen": _TIME,
        "dl-dead-at": _TIME,
        "dl-source-queue": _TEXT,
    },
}


_PROBE: Object = {
    "title": PROBE,
    "summary": "No outcome: it shows the program whether a queue is bound, and expires at once. Ignore it.",
    "contentType": CONTENT_TYPE,
    "payload": {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "format": "uuid"},
            "source": {"const": SOURCE},
            "type": {"const": PROBE},
            "time": _TIME,
        },
    },
    "examples": [{"payload": examples.PROBE_EVENT}],
}


def document(schemas: Object) -> Object:
    """Return the document; ``schemas`` holds the schema of each event under its type."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "snapshot-backup",
            "version": "1.0.0",
            "description": "Receives events of completed snapshots, makes backups and publishes outcomes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(), "schemas": schemas},
    }


def _channels() -> Object:
    return {
        "snapshots": {
            "address": COMPLETED,
            "description": _SNAPSHOTS,
            "messages": _refs(COMPLETED),
            "bindings": _topic_exchange(SNAPSHOT_EXCHANGE),
        },
        "backups": {
            "address": "{type}",
            "description": "Routing key of the exchange that RESULT_EXCHANGE names: the outcome's type.",
            "parameters": {"type": {"enum": list(TYPES.values())}},
            "messages": _refs(*TYPES.values()),
            "bindings": _topic_exchange(RESULT_EXCHANGE),
        },
        "probes": {
            "address": PROBE,
            "description": "Routing key of the same exchange; where it reaches no queue, an outcome's type.",
            "messages": _refs(PROBE),
            "bindings": _topic_exchange(RESULT_EXCHANGE),
        },
        "deadLetters": {
            "address": DEAD_QUEUE,
            "description": "Messages that could not be handled, as they arrived; operators replay them.",
            "messages": _refs("deadLetter"),
            "bindings": _queue(DEAD_QUEUE),
        },
    }


def _operations() -> Object:
    sent = {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": "0.3.0"}}
    return {
        "receiveSnapshot": {"action": "receive", "channel": {"$ref": "#/channels/snapshots"}},
        "publishOutcome": {"action": "send", "channel": {"$ref": "#/channels/backups"}, "bindings": sent},
        "publishProbe": {
            "action": "send",
            "channel": {"$ref": "#/channels/probes"},
            "bindings": {"amqp": {"expiration": 0, "mandatory": True, "bindingVersion": "0.3.0"}},
        },
        "publishDeadLetter": {
            "action": "send",
            "channel": {"$ref": "#/channels/deadLetters"},
            "bindings": sent,
        },
    }


def _messages() -> Object:
    events = {COMPLETED: examples.SNAPSHOT_EVENT, **examples.OUTCOME_EVENTS}
    dead: Object = {
        "title": "Dead letter",
        "summary": "The original body, content type and headers, with the reason in dl- headers.",
        "headers": _DEAD_LETTER_HEADERS,
        "payload": {"description": "The body as it arrived, in any form"},
        "examples": [{"headers": examples.DEAD_LETTER_HEADERS, "payload": examples.SNAPSHOT_EVENT}],
    }
    return {
        **{type_: _event(type_, example) for type_, example in events.items()},
        PROBE: _PROBE,
        "deadLetter": dead,
    }


def _event(type_: str, example: Object) -> Object:
    return {
        "title": type_,
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{type_}"},
        "examples": [{"payload": example}],
    }


def _refs(*messages: str) -> Object:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}


def _topic_exchange(name: str) -> Object:
    exchange = {"name": name, "type": "topic", "durable": True, "autoDelete": False, "vhost": "/"}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}}


def _queue(name: str) -> Object:
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False, "vhost": "/"}
    return {"amqp": {"is": "queue", "queue": queue, "bindingVersion": "0.3.0"}}
