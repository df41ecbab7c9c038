"""Checks of option values: a wrong one is a usage error that says what would be right."""

import math
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter

from events.snapshot import ProjectId, ResourceId
from handler.commands.suggestions import did_you_mean
from handler.dead_letters.filters import WrongPeriod, moment
from handler.dead_letters.filters import period as parsed_period

_PROJECT: TypeAdapter[str] = TypeAdapter(ProjectId)
_RESOURCE: TypeAdapter[str] = TypeAdapter(ResourceId)


def checked(check: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Return a callback for an option, which may be repeatable; ``check`` raises ``ValueError``."""

    def callback(value: Any) -> Any:
        if value is None:
            return None
        try:
            return [check(each) for each in value] if isinstance(value, list) else check(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return callback


def one_of(words: Sequence[str], kind: str) -> Callable[[str], str]:
    """Return a check for a closed set of words."""

    def check(value: str) -> str:
        if value not in words:
            meant = did_you_mean(value, words) or f" It is one of {', '.join(words)}."
            raise ValueError(f"{value!r} is no {kind}.{meant}")
        return value

    return check


def resource_id(value: str) -> str:
    """Return the id of a volume or a snapshot in its canonical spelling."""
    try:
        return _RESOURCE.validate_python(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a UUID, such as 0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40") from None


def project(value: str) -> str:
    """Return a project's id in its canonical spelling."""
    try:
        return _PROJECT.validate_python(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is not a project's ID (1 to 64 letters, digits, _ and -), "
            "such as 8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
        ) from None


def not_empty(value: str) -> str:
    """Return a text that has characters."""
    if not value.strip():
        raise ValueError("is empty")
    return value


def time_or_age(value: str) -> str:
    """Return a time or an age as it was given."""
    moment(value, now=datetime.now(UTC))
    return value


def period(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the times of ``--since`` and ``--until``; a usage error if nothing can be between them."""
    try:
        return parsed_period(since, until, now=datetime.now(UTC))
    except WrongPeriod as error:
        raise typer.BadParameter(error.problem, param_hint=f"'--{error.end}'") from None


def new_file(value: Path) -> Path:
    """Return the path of a file that does not exist yet, in a folder that does."""
    if value == Path("-"):
        raise ValueError("- is not the name of a file, and standard output is not taken; give a name")
    if value.exists():
        raise ValueError(f"{value} exists already; give another name")
    if not value.parent.is_dir():
        raise ValueError(f"{value.parent} is not a folder")
    return value


def readable_file(value: Path) -> Path:
    """Return the path of a file that can be read, or ``-`` for standard input."""
    if value == Path("-"):
        return value
    # Not by opening it: the writer of a pipe, as of <(…), would find its reader gone.
    if not value.exists():
        raise ValueError(f"{value} does not exist")
    if value.is_dir():
        raise ValueError(f"{value} is a folder")
    if not os.access(value, os.R_OK):
        raise ValueError(f"{value} may not be read by this user")
    return value


def finite(value: float) -> float:
    """Return a number that is one: neither ``nan`` nor ``inf``."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number")
    return value
