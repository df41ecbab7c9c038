"""An operator's order: what it selects, what it refuses, and that it stays the same from page to page."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from handler.console.orders import DropOrder, ReplayOrder, Selection
from handler.dead_letters.filters import Filters


def test_a_selection_becomes_the_filters_of_a_reading() -> None:
    """Each field is a filter; a dash is «no code»."""
    selection = Selection(
        ids=("0123456789ab",), categories=("quota",), codes=("-", "404"), since="2026-11-23"
    )

    assert selection.filters() == Filters(
        ids=frozenset({"0123456789ab"}),
        categories=frozenset({"quota"}),
        codes=frozenset({None, "404"}),
        since=datetime(2026, 11, 23, tzinfo=UTC),
    )


def test_a_relative_time_becomes_absolute_in_a_form() -> None:
    """What a dry run showed for «90m» is what the act selects, however late it is confirmed."""
    [(name, value)] = Selection(since="90m").fields()

    assert ("since", True) == (name, datetime.fromisoformat(value) < datetime.now(UTC))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, "all"),
        ({"all": False, "dry_run": True}, "all"),
        ({"categories": []}, "all"),
        ({"ids": ["0123456789AB"]}, "ids"),
        ({"ids": ["x"]}, "ids"),
        ({"categories": [""]}, "categories"),
        ({"categories": ["x"] * 1001}, "categories"),
        ({"since": "yesterday"}, "since"),
        ({"limit": 0, "all": True}, "limit"),
        ({"rate": 0, "all": True}, "rate"),
        ({"rate": "nan", "all": True}, "rate"),
        ({"stop_at": 100, "all": True}, "stop_at"),
        ({"category": ["quota"]}, "category"),
    ],
)
def test_a_wrong_order_is_refused_by_the_name_of_its_field(values: dict[str, Any], names: str) -> None:
    """An order that is wrong, or selects everything without saying so, is refused."""
    with pytest.raises(ValidationError, match=names):
        ReplayOrder.model_validate(values)


def test_everything_is_selected_where_the_order_says_so() -> None:
    """An empty selection that says all is everything."""
    assert DropOrder(all=True).selects_all
    assert "all" == DropOrder(all=True).text()
