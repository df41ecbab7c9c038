"""``RULES_FILE``: a small TOML file that says, for each kind of snapshot, how its backup is to be.

::

    [[rule]]
    match = { snapshot_name = "nightly-*", metadata = { policy = "gold" }, min_size_gb = 10 }
    set = { name = "gold-{snapshot_id}", description = "kept for a year", incremental = "auto" }

    [[rule]]
    match = { project = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5" }
    skip = "this project has backups of its own"

The first rule that matches decides, and what it sets goes before what the event says.
``incremental = "auto"`` is incremental where the volume has a backup to build on, else full; with
``full_every = 7`` each seventh backup of a volume is full. What an event says of ``incremental`` goes first.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from events.snapshot import BackupOptions, SnapshotCompleted, SnapshotEvent, canonical_project
from handler.backup.backup_metadata import LIMIT, metadata_problem
from handler.backup.patterns import matches
from handler.backup.request import filled_name
from handler.errors import SettingsError

T = TypeVar("T")

_HEADERS = "[[rule]] and [[limit]]"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Model):
    """What a snapshot must be like; names are patterns, and what is not given matches all."""

    project: Annotated[str, AfterValidator(canonical_project)] = "*"
    volume: Annotated[str, AfterValidator(str.lower)] = "*"
    snapshot_name: str = "*"
    min_size_gb: Annotated[int, Field(ge=0)] | None = None
    max_size_gb: Annotated[int, Field(ge=0)] | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    availability_zone: str = "*"

    def fits(self, event: SnapshotEvent, project_id: str) -> bool:
        """Return whether the rule matches the snapshot. One of unknown size matches no limit of size."""
        snapshot = event.snapshot
        names = (
            (snapshot.snapshot_name or "", self.snapshot_name),
            (event.availability_zone or "", self.availability_zone),
            *((str(event.metadata.get(key, "")), pattern) for key, pattern in self.metadata.items()),
        )
        return (
            self.fits_ids(event, project_id)
            and self._fits_size(snapshot.size_gb)
            and all(matches(*pair) for pair in names)
        )

    def fits_ids(self, event: SnapshotEvent, project_id: str) -> bool:
        """Return whether project and volume match: the rule may match once more is known."""
        return matches(project_id, self.project) and matches(event.snapshot.volume_id, self.volume)

    def _fits_size(self, size: int | None) -> bool:
        if self.min_size_gb is None and self.max_size_gb is None:
            return True
        return size is not None and (self.min_size_gb or 0) <= size <= (self.max_size_gb or size)


def _count(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a whole number, 1 or more")
    return value


class Set(_Model):
    """What a rule says of the backup.

    ``name`` may hold ``{snapshot_id}``, ``{snapshot_name}`` and ``{volume_id}``.
    """

    name: str | None = None
    description: str | None = None
    force: bool | None = None
    incremental: bool | Literal["auto"] | None = None
    full_every: Annotated[int, BeforeValidator(_count)] | None = None
    metadata: dict[str, str] | None = None
    availability_zone: Annotated[str, Field(min_length=1, max_length=LIMIT)] | None = None

    def overrides(self, snapshot: SnapshotCompleted) -> Mapping[str, Any]:
        """Return the fields of the request that this rule sets for one snapshot."""
        options = self.model_dump(exclude_none=True, exclude={"full_every"})
        if self.incremental == "auto":
            del options["incremental"]
        if self.name:
            options["name"] = filled_name(
                self.name,
                snapshot_id=snapshot.snapshot_id,
                volume_id=snapshot.volume_id,
                snapshot_name=snapshot.snapshot_name or "",
            )
        return options

    @model_validator(mode="after")
    def _valid(self) -> Self:
        if self.full_every is not None and self.incremental != "auto":
            raise ValueError('full_every goes with incremental = "auto"')
        if self.metadata and (wrong := metadata_problem(self.metadata)):
            raise ValueError(wrong)
        sample = dict.fromkeys(("snapshot_id", "volume_id"), f"{'0' * 8}-0000-0000-0000-{'0' * 12}")
        name = filled_name(self.name, snapshot_name="", **sample) if self.name else None
        for field, value in (("name", name), ("description", self.description)):
            try:
                BackupOptions(**{field: value})
            except ValidationError:
                raise ValueError(_REQUEST_RULES[field]) from None
        return self


_REQUEST_RULES = {
    "name": "name must be 1 to 64 letters, digits, _ and -, and must not begin with auto",
    "description": "description must be at most 255 characters without < and >",
}
"""The API's rules for what a rule sets."""


class Rule(_Model):
    """One rule: it either skips or sets."""

    match: Match = Match()
    set: Set | None = None
    skip: Annotated[str, Field(min_length=1, max_length=255)] | None = None

    @property
    def needs_v3(self) -> bool:
        """Whether the rule sets what only newer microversions of Cinder's API know."""
        return self.set is not None and bool(self.set.metadata or self.set.availability_zone)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.set is None) == (self.skip is None):
            raise ValueError("a rule has either set or skip")
        return self


_RULES = TypeAdapter(list[Rule])


def load_rules(path: Path) -> Sequence[Rule]:
    """Read the rules. Raises ``SettingsError`` that names the line."""
    return read_tables(path, "rule", _RULES)


def read_tables(path: Path, table: str, tables: TypeAdapter[list[T]]) -> Sequence[T]:
    """Read the tables of one kind. Raises ``SettingsError`` that names the line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        document: Mapping[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"RULES_FILE: {path}: cannot be read ({error.strerror}); {_EXAMPLE}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"RULES_FILE: {path}: is not UTF-8; {_EXAMPLE}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"RULES_FILE: {path}: is not TOML: {error}; {_EXAMPLE}") from None
    if unknown := set(document) - {"rule", "limit"}:
        raise SettingsError(
            f"RULES_FILE: {path}: unknown {min(unknown)!r}; it holds {_HEADERS} tables; {_EXAMPLE}"
        )
    try:
        return tables.validate_python(document.get(table, []))
    except ValidationError as error:
        raise SettingsError("; ".join(_lines(path, text, table, error))) from None


def _lines(path: Path, text: str, table: str, error: ValidationError) -> Iterator[str]:
    header = re.compile(rf"\s*\[\[\s*{table}\s*\]\]")
    headers = [number for number, line in enumerate(text.splitlines(), 1) if header.match(line)]
    found: dict[str, str] = {}  # a value that may be one of two kinds has two errors: the last one has both
    for problem in error.errors(include_url=False, include_input=False):
        where = problem["loc"]
        rule = where[0] if where and isinstance(where[0], int) else 0
        line = headers[rule] if rule < len(headers) else 1
        field = ".".join(str(part) for part in where[1:] if isinstance(part, str) and part not in _BRANCHES)
        place = f"{table} at line {line}: {f'{field}: ' if field else ''}"
        found[place] = _MESSAGES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    for place, message in found.items():
        yield f"RULES_FILE: {path}, {place}{message}; {_EXAMPLE}"


_EXAMPLE = 'a rule is such as: [[rule]] match = { snapshot_name = "tmp-*" } skip = "not kept"'
_BRANCHES = frozenset({"bool", "literal['auto']"})
"""What pydantic adds to the place of an error where a value may be one of several kinds."""

_MESSAGES = {
    "extra_forbidden": (
        "is none: match has project, volume, snapshot_name, metadata, availability_zone, min_size_gb and "
        "max_size_gb; a limit has name, match, per and max_running; set has "
        "name, description, force, incremental, full_every, metadata and availability_zone"
    ),
    "string_type": "must be a text in quotes",
    "string_too_short": "must have 1 to 255 characters",
    "string_too_long": "must have 1 to 255 characters",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": 'must be true, false or "auto"',
    "int_type": "must be a whole number of GB",
    "int_parsing": "must be a whole number of GB",
    "int_from_float": "must be a whole number of GB",
    "greater_than_equal": "must be 0 or more GB",
    "model_type": "must be a table in braces",
    "dict_type": "must be a table in braces",
    "list_type": "rules are [[rule]] tables, limits [[limit]] tables",
    "missing": "is missing",
}
"""pydantic's kinds of errors in our own words."""
