"""Converts a ledger row to the columns of a table, and back."""

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
    """Convert a row to columns."""
    # ASCII, since an error's text may hold letters that the database's encoding lacks.
    rest = _ROW.dump_json(
        row, exclude=_COLUMNS, exclude_defaults=True, by_alias=True, ensure_ascii=True
    ).decode()
    return row.state.value, row.token, row.lease_until, row.updated_at, int(row.settled), rest


def from_columns(state: str, token: str | None, lease_until: float, updated_at: float, rest: str) -> Row:
    """Convert columns to a row. Raises ``ValueError`` where another program wrote into the table."""
    if rest == _NOTHING:  # most rows are read while they hold nothing but a claim
        return Row(RowState(state), token, lease_until, updated_at=updated_at)
    columns: dict[str, Any] = json.loads(rest)
    columns.update(state=state, token=token, lease_until=lease_until, updated_at=updated_at)
    return _ROW.validate_python(columns)
