"""A row as what a table holds, and back: the one place where it becomes text."""

import json
from typing import Any

from pydantic import TypeAdapter

from handler.ledger.row import Row, RowState

_ROW = TypeAdapter(Row)
_COLUMNS = {"state", "token", "lease_until", "updated_at"}
_NOTHING = "{}"

Columns = tuple[str, str | None, float, float, int, str]
"""state, token, lease_until, updated_at, settled (0 or 1), and the rest as JSON."""


def to_columns(row: Row) -> Columns:
    """Write a row as what a table holds."""
    # ASCII, since not every database can hold every letter of an error's text.
    rest = _ROW.dump_json(
        row, exclude=_COLUMNS, exclude_defaults=True, by_alias=True, ensure_ascii=True
    ).decode()
    return row.state.value, row.token, row.lease_until, row.updated_at, int(row.settled), rest


def from_columns(state: str, token: str | None, lease_until: float, updated_at: float, rest: str) -> Row:
    """Read a row back. Raises ``ValueError`` where somebody else wrote into the table."""
    if rest == _NOTHING:  # a claim and no more, as most rows are when they are read
        return Row(RowState(state), token, lease_until, updated_at=updated_at)
    columns: dict[str, Any] = json.loads(rest)
    columns.update(state=state, token=token, lease_until=lease_until, updated_at=updated_at)
    return _ROW.validate_python(columns)
