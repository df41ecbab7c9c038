"""Unit tests of the published schemas: they are valid, up to date, and agree with the decoder."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from events import schemas
from events.decode import decode
from events.errors import EventError
from events.message import Message
from events.outcome import TYPES
from handler.settings import Settings
from tests.unit.events.forms import DATA, LIMIT, load

FOLDER = Path(schemas.__file__).parent / "schema"
DOCUMENTS = schemas.documents()
ASYNCAPI = DOCUMENTS["asyncapi.json"]
JSON_SCHEMAS = [name for name in DOCUMENTS if name != "asyncapi.json"]
EVENT = Draft202012Validator(DOCUMENTS["snapshot.completed.schema.json"])


def _asyncapi_errors(document: object) -> list[str]:
    rules = json.loads((DATA / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))
    return [error.message for error in Draft7Validator(rules).iter_errors(document)]


def test_the_committed_documents_are_not_stale() -> None:
    """The committed files are those that ``snapshot-backup schemas --out events/schema`` writes."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}

    expected = {name: schemas.render(document) for name, document in DOCUMENTS.items()}
    assert expected == committed, "stale: run snapshot-backup schemas --out events/schema"


@pytest.mark.parametrize("name", JSON_SCHEMAS)
def test_each_schema_is_valid_and_so_is_its_example(name: str) -> None:
    """Each schema is valid JSON Schema 2020-12, and accepts its own example."""
    Draft202012Validator.check_schema(DOCUMENTS[name])
    [example] = DOCUMENTS[name]["examples"]

    assert [] == list(Draft202012Validator(DOCUMENTS[name]).iter_errors(example))


@pytest.mark.parametrize("name", JSON_SCHEMAS)
def test_each_schema_refuses_an_example_without_what_is_required(name: str) -> None:
    """A schema refuses its example if any required field is removed."""
    schema = DOCUMENTS[name]
    [example] = schema["examples"]

    for field in schema["required"]:
        assert not Draft202012Validator(schema).is_valid({k: v for k, v in example.items() if k != field})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"volume_id": 7},
        {"project_id": "../../x"},
        {"project_id": None},
        {"size_gb": -1},
        {"size_gb": 10.5},
        {"snapshot_name": "n" * 1025},
        {"backup": None},
        {"backup": {"name": "auto-x"}},
        {"backup": {"name": "n" * 65}},
        {"backup": {"name": "nightly"}},
        {"backup": {"description": "<"}},
        {"backup": {"other": 1}},
        {"other": 1},
    ],
)
def test_the_schema_and_the_decoder_agree(changes: dict[str, Any]) -> None:
    """The decoder accepts an event exactly if the schema allows it."""
    event = load("cloudevents")
    event["data"] |= changes
    try:
        decode(Message(json.dumps(event).encode()), max_bytes=LIMIT)
        decoded = True
    except EventError:
        decoded = False

    assert EVENT.is_valid(event) == decoded


def test_the_asyncapi_document_is_valid() -> None:
    """The document conforms to the official JSON Schema of AsyncAPI 3.0.0."""
    assert [] == _asyncapi_errors(ASYNCAPI)


@pytest.mark.parametrize(
    "path",
    [
        ("info", "title"),
        ("channels", "snapshots", "bindings", "amqp", "is"),
        ("operations", "publishOutcome", "action"),
    ],
)
def test_a_broken_asyncapi_document_is_not_valid(path: tuple[str, ...]) -> None:
    """The official JSON Schema refuses a document with a wrong value, so the check above can fail."""
    broken = deepcopy(ASYNCAPI)
    where = broken
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = 7

    assert _asyncapi_errors(broken)


def _refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for child in value.values() for ref in _refs(child)]
    return [ref for child in value for ref in _refs(child)] if isinstance(value, list) else []


def test_every_reference_has_a_target() -> None:
    """Each ``$ref`` in the document resolves; the official schema does not check that."""
    refs = _refs(ASYNCAPI)
    assert refs
    for ref in refs:
        target = ASYNCAPI
        for key in ref.removeprefix("#/").split("/"):
            assert key in target, ref
            target = target[key]


@pytest.mark.parametrize("name", ASYNCAPI["components"]["messages"])
def test_each_example_of_a_message_is_valid(name: str) -> None:
    """Payload and headers of the example conform to the schemas in the document."""
    message = ASYNCAPI["components"]["messages"][name]
    [example] = message["examples"]

    for part, schema in (("payload", message["payload"]), ("headers", message.get("headers"))):
        if schema is not None:
            rules = {**schema, "components": ASYNCAPI["components"]}
            assert [] == list(Draft202012Validator(rules).iter_errors(example[part]))


def test_the_document_has_the_default_names_of_the_settings() -> None:
    """Exchanges, dead-letter queue and routing keys are the defaults of the settings."""
    fields, channels = Settings.model_fields, ASYNCAPI["channels"]

    assert (
        fields["snapshot_exchange"].default == channels["snapshots"]["bindings"]["amqp"]["exchange"]["name"]
    )
    assert fields["result_exchange"].default == channels["backups"]["bindings"]["amqp"]["exchange"]["name"]
    assert f"{fields['snapshot_queue'].default}.dead" == channels["deadLetters"]["address"]
    assert [*TYPES.values()] == channels["backups"]["parameters"]["type"]["enum"]
