"""What an operator asks for: a selection of dead letters, and what to do with them. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from handler.dead_letters.filters import Filters, moment, period

NO_CODE = "-"
"""Stands for «no code» among the codes."""

LISTS = ("ids", "categories", "codes", "projects", "snapshots", "volumes", "events")
"""The fields that may have several values."""

_MOST = 1_000

Text = Annotated[str, StringConstraints(min_length=1, max_length=1_024)]
Texts = Annotated[tuple[Text, ...], Field(max_length=_MOST)]
DeadLetterId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]


def described(asked: Mapping[str, object]) -> str:
    """Return what is asked for in few words: the values that are given, of a list the first three."""
    return "; ".join(f"{name} {_few(value)}" for name, value in asked.items() if value) or "all"


def _few(value: object) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    more = f" and {len(value) - 3} more" if len(value) > 3 else ""
    return f"{', '.join(map(str, value[:3]))}{more}"


def _time(value: object) -> object:
    """Return a time as it was given, if it is one."""
    if isinstance(value, str):
        moment(value, now=datetime.now(UTC))
    return value


Time = Annotated[str | None, BeforeValidator(_time)]


class Selection(BaseModel):
    """Which dead letters; a field with several values matches any of them, an empty one matches all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ids: Annotated[tuple[DeadLetterId, ...], Field(max_length=_MOST)] = ()
    categories: Texts = ()
    codes: Texts = Field((), description="Error codes; - stands for none.")
    projects: Texts = ()
    snapshots: Texts = ()
    volumes: Texts = ()
    events: Texts = Field((), description="Ids of events.")
    since: Time = Field(
        None, description="Dead-lettered at or after: 2026-11-23T22:00 (UTC), or 90m, 12h, 3d ago."
    )
    until: Time = Field(None, description="Dead-lettered before; same forms.")
    limit: int | None = Field(None, ge=1, description="At most so many, the oldest first.")

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        period(self.since, self.until, now=datetime.now(UTC))
        return self

    def filters(self) -> Filters:
        """Return the filters of the dead letters' reading."""
        now = datetime.now(UTC)
        since, until = (moment(text, now=now) if text else None for text in (self.since, self.until))
        return Filters(
            ids=frozenset(self.ids),
            categories=frozenset(self.categories),
            codes=frozenset(None if code == NO_CODE else code for code in self.codes),
            projects=frozenset(self.projects),
            snapshots=frozenset(self.snapshots),
            volumes=frozenset(self.volumes),
            events=frozenset(self.events),
            since=since,
            until=until,
        )

    @property
    def selects_all(self) -> bool:
        """Whether nothing is left out."""
        return self.filters() == Filters()

    def text(self) -> str:
        """Return the selection in few words, for a page and the log."""
        return described({name: getattr(self, name) for name in (*LISTS, "since", "until")})

    def fields(self) -> list[tuple[str, str]]:
        """Return the selection as the fields of a form; times are absolute, so that it stays the same."""
        filters = self.filters()
        found = [(name, value) for name in LISTS for value in getattr(self, name)]
        found += [(name, at.isoformat()) for name in ("since", "until") if (at := getattr(filters, name))]
        return found


class _Act(Selection):
    """An act on a selection. An empty selection must say that it means all."""

    all: bool = Field(default=False, description="Needed where the selection leaves nothing out.")
    dry_run: bool = Field(default=False, description="Only count and show what would be done.")

    @model_validator(mode="after")
    def _not_by_accident(self) -> Any:
        if self.selects_all and not self.all:
            raise ValueError("all: select dead letters, or say all=true")
        return self


class ReplayOrder(_Act):
    """Send dead letters back to the queue, where a worker handles each as a new message."""

    rate: float | None = Field(
        None, gt=0, le=100_000, allow_inf_nan=False, description="At most so many a second."
    )
    stop_at: float | None = Field(
        None, gt=0, lt=100, allow_inf_nan=False, description="Stop when more than so many percent fail again."
    )


class DropOrder(_Act):
    """Remove dead letters, after they were exported to a file where the console runs."""
