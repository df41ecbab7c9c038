"""The published documents: a JSON Schema for each event that we accept or publish, and the AsyncAPI document.

The files in ``events/schema/`` are made by ``snapshot-backup schemas --out events/schema``.
"""

import json
from typing import Any, Final, Literal

from pydantic import BaseModel

from events import asyncapi, examples
from events.cloudevents import COMPLETED, SOURCE_LIMIT
from events.outcome import SOURCE, TYPES
from events.reading import ID_LIMIT
from events.snapshot import SnapshotCompleted

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TRACEPARENT = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


def documents() -> dict[str, Schema]:
    """Return each document by its file name."""
    data_name = f"{COMPLETED}.data"
    found = {
        data_name: _document(data_name, examples.SNAPSHOT_DATA, *_data(SnapshotCompleted, "validation")),
        COMPLETED: _document(COMPLETED, examples.SNAPSHOT_EVENT, *snapshot_event("#/$defs/")),
    }
    for model, type_ in TYPES.items():
        found[type_] = _document(type_, examples.OUTCOME_EVENTS[type_], *outcome_event(model, "#/$defs/"))
    files = {f"{name}.schema.json": schema for name, schema in found.items()}
    return {**files, "asyncapi.json": asyncapi.document(_components())}


def render(schema: Schema) -> str:
    """Return a document as text, indented by two spaces, with a newline at the end."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def snapshot_event(refs: str) -> tuple[Schema, dict[str, Schema]]:
    """Return the schema of ``snapshot.completed``, and the definitions that it refers to under ``refs``."""
    _, definitions = _data(SnapshotCompleted, "validation", refs)
    own = {
        "id": {"type": "string", "minLength": 1, "maxLength": ID_LIMIT},
        "source": {"type": "string", "minLength": 1, "maxLength": SOURCE_LIMIT},
    }
    return _event(COMPLETED, own, f"{refs}{SnapshotCompleted.__name__}", []), definitions


def outcome_event(model: type[BaseModel], refs: str) -> tuple[Schema, dict[str, Schema]]:
    """Return the schema of an outcome, and the definitions that it refers to under ``refs``."""
    _, definitions = _data(model, "serialization", refs)
    own: dict[str, Schema] = {
        "id": {"type": "string", "format": "uuid"},
        "source": {"const": SOURCE},
        "correlationid": {
            "type": "string",
            "minLength": 1,
            "description": "The id of the event that led to this outcome",
        },
    }
    required = ["time", "datacontenttype", "correlationid"]
    return _event(TYPES[model], own, f"{refs}{model.__name__}", required), definitions


def _event(type_: str, own: dict[str, Schema], data: str, required: list[str]) -> Schema:
    """Return the schema of a CloudEvent in the JSON format."""
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", *required, "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": type_},
            **own,
            "subject": {"type": "string", "description": "The snapshot's id"},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "traceparent": {"type": "string", "pattern": _TRACEPARENT},
            "data": {"$ref": data},
        },
    }


def _data(
    model: type[BaseModel], mode: Literal["validation", "serialization"], refs: str = "#/$defs/"
) -> tuple[Schema, dict[str, Schema]]:
    """Return a model's schema, and all definitions including its own."""
    schema = model.model_json_schema(mode=mode, ref_template=f"{refs}{{model}}")
    definitions: dict[str, Schema] = schema.pop("$defs", {})
    return schema, {**definitions, model.__name__: schema}


def _document(name: str, example: object, schema: Schema, definitions: dict[str, Schema]) -> Schema:
    others = {key: value for key, value in definitions.items() if value is not schema}
    head = {"$schema": DIALECT, "$id": f"{name}.schema.json", "title": name}
    return {**head, **{key: value for key, value in schema.items() if key != "title"}} | {
        "examples": [example],
        "$defs": others,
    }


def _components() -> dict[str, Schema]:
    """Return all schemas as an AsyncAPI document's components: events by type, the rest by model."""
    refs = "#/components/schemas/"
    event, components = snapshot_event(refs)
    components[COMPLETED] = event
    for model, type_ in TYPES.items():
        event, definitions = outcome_event(model, refs)
        components |= {**definitions, type_: event}
    return components
