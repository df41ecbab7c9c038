"""The ``[[limit]]`` tables of ``RULES_FILE``: how many backups of a group are in progress at once.

::

    [[limit]]
    name = "gold"
    match = { project = "gold-*" }
    per = "project"
    max_running = 4

All limits that match a snapshot apply, and ``MAX_RUNNING`` too.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter

from events.snapshot import SnapshotEvent
from handler.backup.rules import Match, read_tables
from handler.backup.running import MAX_RUNNING, Limit, group
from handler.errors import SettingsError

MOST_RUNNING = 10_000
NO_ZONE = "unknown"
"""Stands for the zone of a snapshot whose event names none."""


def _number(value: object) -> object:
    if type(value) is int and 1 <= value <= MOST_RUNNING:
        return value
    raise ValueError(f"must be a whole number from 1 to {MOST_RUNNING}")


def _name(value: object) -> object:
    if isinstance(value, str) and re.fullmatch("[0-9A-Za-z_-]{1,64}", value) and value != MAX_RUNNING:
        return value
    raise ValueError(f"must be 1 to 64 letters, digits, _ and -, and not {MAX_RUNNING}")


def _per(value: object) -> object:
    if value in ("project", "availability_zone"):
        return value
    raise ValueError('must be "project" or "availability_zone"')


class GroupLimit(BaseModel):
    """One limit; ``per`` says that each project or each availability zone has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, BeforeValidator(_name)]
    match: Match = Match()
    per: Annotated[str | None, BeforeValidator(_per)] = None
    max_running: Annotated[int, BeforeValidator(_number)]

    def of(self, event: SnapshotEvent, project_id: str) -> Limit:
        """Return the limit of one snapshot's group."""
        parts = {"project": project_id, "availability_zone": event.availability_zone or NO_ZONE}
        return Limit(group(self.name, parts[self.per] if self.per else ""), self.max_running)


_LIMITS = TypeAdapter(list[GroupLimit])


def load_limits(path: Path) -> Sequence[GroupLimit]:
    """Read the limits. Raises ``SettingsError`` that names the line."""
    limits = read_tables(path, "limit", _LIMITS)
    names = [limit.name for limit in limits]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"RULES_FILE: {path}: two limits have the name {min(twice)}; {_EXAMPLE}")
    return limits


_EXAMPLE = 'a limit is such as: [[limit]] name = "gold" match = { project = "gold-*" } max_running = 4'
