"""The ``snapshot.completed`` event: a snapshot that is complete, and the options of its backup."""

import re
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr

NAME_LIMIT: Final = 1024
SIZE_LIMIT: Final = 1_000_000
"""In GB, far more than any disk has: larger sizes are errors."""

_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]{32}")


def _uuid(value: str) -> str:
    """Return the id in its canonical spelling, so that all spellings give one idempotency key."""
    text = value.lower()
    if _CANONICAL.fullmatch(text):
        return text
    if _HEX.fullmatch(text):
        return str(uuid.UUID(text))
    raise ValueError("not a UUID")


def canonical_project(value: str) -> str:
    """Return a project id of 32 hex digits as Keystone spells it: lower case, no dashes. Others stay."""
    text = value.lower()
    if _HEX.fullmatch(text):
        return text
    return text.replace("-", "") if _CANONICAL.fullmatch(text) else value


def _not_reserved(value: str) -> str:
    if value.startswith("auto"):
        raise ValueError("must not start with auto")
    return value


ResourceId = Annotated[
    StrictStr, Field(max_length=36, json_schema_extra={"format": "uuid"}), AfterValidator(_uuid)
]
ProjectId = Annotated[StrictStr, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$"), AfterValidator(canonical_project)]
"""A project id is one segment of a URL's path, so characters that could end the segment are refused."""

BackupName = Annotated[
    StrictStr,
    Field(pattern=r"^[0-9A-Za-z_-]{1,64}$", json_schema_extra={"not": {"pattern": "^auto"}}),
    AfterValidator(_not_reserved),
]
"""By the API page: 1 to 64 digits, letters, ``_`` and ``-``, not starting with ``auto``."""


class BackupOptions(BaseModel):
    """The options of a backup that a producer may set, by the API page's rules; null means unset."""

    # Built when it is first needed: most events set no option.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: BackupName | None = None
    description: Annotated[StrictStr, Field(max_length=255, pattern=r"^[^<>]*$")] | None = None
    force: StrictBool | None = None
    incremental: StrictBool | None = None
    container: Annotated[StrictStr, Field(max_length=255)] | None = None
    project_id: ProjectId | None = None


class SnapshotCompleted(BaseModel):
    """The ``data`` of a ``snapshot.completed`` event. ``size_gb`` is the volume's size in GB."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project_id: ProjectId | None = None
    volume_id: ResourceId
    snapshot_id: ResourceId
    snapshot_name: Annotated[StrictStr, Field(max_length=NAME_LIMIT)] | None = None
    size_gb: Annotated[int, Field(strict=True, ge=0, le=SIZE_LIMIT)] | None = None
    backup: BackupOptions | None = None


class SnapshotEvent(NamedTuple):
    """A decoded snapshot event, the same for all forms.

    ``proves`` says what the form is evidence of: that the snapshot is complete, or only that it was
    requested (then the API is asked first). ``metadata`` and ``availability_zone`` are the snapshot's, as
    far as the form has them.
    """

    id: str
    source: str
    type: str
    form: str
    snapshot: SnapshotCompleted
    proves: Literal["completed", "requested"] = "completed"
    traceparent: str | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})
    availability_zone: str | None = None


class ForeignEvent(NamedTuple):
    """A notification of a known form that is not about a completed snapshot: counted and acknowledged."""

    form: str
    type: str
