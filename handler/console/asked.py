"""What an operator asks for by an id, checked before the ledger is asked. Pure.

PostgreSQL stores neither NUL nor lone surrogates. Without the check such a question would fail as if the
ledger did. No id has control characters: an event whose id has one is refused.
"""

from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter

from events.reading import ID_LIMIT, plain_id
from events.snapshot import ResourceId, canonical_project

_UUID: TypeAdapter[str] = TypeAdapter(ResourceId)
_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\ufffe\uffff]+$"


def plain(value: str) -> str:
    """Return an id as it is. Raises ``ValueError`` for what no id can be."""
    if plain_id(value) is None or not _is_unicode(value):
        raise ValueError(f"must be 1 to {ID_LIMIT} characters without control characters")
    return value


def snapshot(value: str) -> str:
    """Return a snapshot's id as events are recorded: a UUID in lower case with dashes; others stay."""
    try:
        return _UUID.validate_python(plain(value))
    except ValueError:
        return plain(value)


def project(value: str) -> str:
    """Return a project's id as events are recorded: 32 hex digits without dashes; others stay."""
    return canonical_project(plain(value))


def _is_unicode(value: str) -> bool:
    """Return whether a text can be written: bytes of a command line that are no UTF-8 become surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_Given = Annotated[str, Field(min_length=1, max_length=ID_LIMIT, json_schema_extra={"pattern": _PATTERN})]
PlainId = Annotated[_Given, AfterValidator(plain)]
SnapshotAsked = Annotated[_Given, AfterValidator(snapshot)]
ProjectAsked = Annotated[_Given, AfterValidator(project)]
