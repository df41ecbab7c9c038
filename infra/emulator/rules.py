"""Validation of create requests: by the rules of the API page, and by Cinder's where the page has none.

Page: "Creating a VBS Backup (Native OpenStack API)". Cinder: api/schemas/backups.py and
api/validation/parameter_types.py. The two differ, so each is a table of checks by field. A check returns
None, or the problem: in the words of Cinder's validator (JSON Schema), or as the vendor's code and message.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.emulator.answers import ApiError, bad_request
from infra.emulator.settings import Rules

UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
METADATA_KEY = re.compile(r"[a-zA-Z0-9_:. /-]{1,255}")
PAGE_NAME = re.compile(r"[0-9A-Za-z_-]*")
TRUE_WORDS = ("True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t")
FALSE_WORDS = ("False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f")


@dataclass(frozen=True, slots=True)
class Problem:
    """A violated rule of the vendor, with the code from the vendor's list (VolumeBackup.NNNN)."""

    code: str
    message: str


Check = Callable[[object], Problem | str | None]


@dataclass(frozen=True, slots=True)
class WantedBackup:
    """A create request after its validation."""

    volume_id: str
    snapshot_id: str | None
    name: str | None
    description: str | None
    incremental: bool
    force: bool
    metadata: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None


def is_uuid(value: object) -> bool:
    """Return whether Cinder accepts the value as an id: 32 hex digits, hyphens optional."""
    return isinstance(value, str) and UUID.fullmatch(value) is not None


def uuid(value: object) -> str | None:
    """Check a required id."""
    if not isinstance(value, str):
        return f"{value!r} is not of type 'string'"
    return None if is_uuid(value) else f"{value!r} is not a 'uuid'"


def snapshot_uuid(value: object) -> str | None:
    """Check the snapshot's id, with Cinder's message; the page does not allow null."""
    return None if is_uuid(value) else f"{value!r} is not valid under any of the given schemas"


def uuid_or_null(value: object) -> str | None:
    """Check an id that may be null."""
    return None if value is None else snapshot_uuid(value)


def short_text(value: object) -> str | None:
    """Check a text of up to 255 characters, null allowed."""
    if value is not None and not isinstance(value, str):
        return f"{value!r} is not of type 'string', 'null'"
    if value is not None and len(value) > 255:
        return f"{value!r} is too long"
    return None


def anything_true_or_false(value: object) -> str | None:
    """Check a boolean of Cinder: true, false, or one of the words."""
    if isinstance(value, bool) or value in TRUE_WORDS + FALSE_WORDS:
        return None
    if isinstance(value, str):
        return f"{value!r} is not one of {[True, *TRUE_WORDS, False, *FALSE_WORDS]}"
    return f"{value!r} is not of type 'boolean', 'string'"


def boolean(value: object) -> str | None:
    """Check a boolean of the page."""
    return None if isinstance(value, bool) else f"{value!r} is not of type 'boolean'"


def page_name(value: object) -> Problem | str | None:
    """Check a name: 1 to 64 digits, letters, underscores and hyphens, not starting with auto."""
    if value is None or not isinstance(value, str):
        return short_text(value)
    if not value:
        return Problem("VolumeBackup.0007", "backup name is null")
    if len(value) > 64:
        return Problem("VolumeBackup.0003", "backup name over length")
    if not PAGE_NAME.fullmatch(value):
        return Problem("VolumeBackup.0004", "backup name invalid character")
    if value.startswith("auto"):
        return Problem("VolumeBackup.0005", "backup name invalid prefix")
    return None


def page_description(value: object) -> Problem | str | None:
    """Check a description: at most 255 characters, without < and >."""
    if value is None or not isinstance(value, str):
        return short_text(value)
    if len(value) > 255 or "<" in value or ">" in value:
        return Problem("VolumeBackup.0006", "backup description is invalid")
    return None


def metadata(value: object) -> str | None:
    """Check metadata: null, or texts of up to 255 characters by keys of Cinder's pattern."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return f"{value!r} is not of type 'object', 'null'"
    for key, text in value.items():
        if not METADATA_KEY.fullmatch(key):
            return f"{key!r} does not match any of the regexes: '^[a-zA-Z0-9-_:. /]{{1,255}}$'"
        if not isinstance(text, str):
            return f"{text!r} is not of type 'string'"
        if len(text) > 255:
            return f"{text!r} is too long"
    return None


@dataclass(frozen=True, slots=True)
class Form:
    """The fields that a create request may have, each with its check, and the required ones."""

    fields: Mapping[str, Check]
    required: tuple[str, ...]


FORMS: Mapping[Rules, Form] = {
    "page": Form(
        fields={
            "volume_id": uuid,
            "snapshot_id": snapshot_uuid,
            "name": page_name,
            "description": page_description,
            "container": short_text,
            "incremental": boolean,
            "force": boolean,
            "project_id": short_text,
        },
        required=("volume_id", "snapshot_id"),
    ),
    "cinder": Form(
        fields={
            "volume_id": uuid,
            "container": short_text,
            "description": short_text,
            "incremental": anything_true_or_false,
            "force": anything_true_or_false,
            "name": short_text,
            "snapshot_id": uuid_or_null,
        },
        required=("volume_id",),
    ),
}


NEWER_FIELDS: Mapping[str, tuple[tuple[int, int], Check]] = {
    "metadata": ((3, 43), metadata),
    "availability_zone": ((3, 51), short_text),
}
"""Cinder's fields of newer microversions: since when, and the check."""


def form_of(rules: Rules, microversion: tuple[int, int]) -> Form:
    """Return the form of a create request; only Cinder's depends on the microversion."""
    form = FORMS[rules]
    if rules == "page":
        return form
    newer = {name: check for name, (since, check) in NEWER_FIELDS.items() if microversion >= since}
    return Form({**form.fields, **newer}, form.required)


def parse_create(body: object, rules: Rules, microversion: tuple[int, int] = (3, 0)) -> WantedBackup:
    """Validate and parse the JSON body of a create call. Raises ApiError (400)."""
    backup = _unwrap(body)
    form = form_of(rules, microversion)
    _check_keys(backup, form)
    for name, check in form.fields.items():
        if name in backup:
            _raise_for(name, backup[name], check(backup[name]))
    # The page says "this parameter is skipped": the service decides.
    incremental = rules == "cinder" and _truth(backup.get("incremental"))
    return WantedBackup(
        volume_id=backup["volume_id"],
        snapshot_id=backup.get("snapshot_id"),
        name=backup.get("name"),
        description=backup.get("description"),
        incremental=incremental,
        force=_truth(backup.get("force")),
        metadata=backup.get("metadata") or {},
        availability_zone=backup.get("availability_zone"),
    )


def _unwrap(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise bad_request(f"{body!r} is not of type 'object'")
    if "backup" not in body:
        raise bad_request("'backup' is a required property")
    backup = body["backup"]
    if not isinstance(backup, dict):
        raise _invalid("backup", backup, f"{backup!r} is not of type 'object'")
    if unexpected := [key for key in body if key != "backup"]:
        raise bad_request(_unexpected(unexpected))
    return backup


def _check_keys(backup: dict[str, Any], form: Form) -> None:
    """Check for missing and unknown keys before any value, as Cinder's validator does."""
    for name in form.required:
        if name not in backup:
            raise _invalid("backup", backup, f"{name!r} is a required property")
    if unexpected := [key for key in backup if key not in form.fields]:
        raise _invalid("backup", backup, _unexpected(unexpected))


def _unexpected(keys: list[str]) -> str:
    verb = "was" if len(keys) == 1 else "were"
    return f"Additional properties are not allowed ({', '.join(map(repr, keys))} {verb} unexpected)"


def _raise_for(field: str, value: object, problem: Problem | str | None) -> None:
    if isinstance(problem, Problem):
        raise bad_request(problem.message, problem.code)
    if problem is not None:
        raise _invalid(field, value, problem)


def _invalid(field: str, value: object, problem: str) -> ApiError:
    return bad_request(f"Invalid input for field/attribute {field}. Value: {value}. {problem}")


def _truth(value: object) -> bool:
    return value is True or value in TRUE_WORDS
