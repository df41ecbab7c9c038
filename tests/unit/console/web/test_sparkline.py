"""The sparklines of the overview, and the hours that they show."""

import re

from handler.console.web.overview import by_hour
from handler.console.web.sparkline import sparkline
from handler.ledger.inquiry import Sum, named_hour
from handler.ledger.journal import HOUR


def heights(svg: str) -> list[int]:
    """Return the heights of the bars."""
    return [int(each) for each in re.findall(r'<rect [^>]*height="(\d+)"', svg)]


def test_the_greatest_number_has_the_highest_bar() -> None:
    """Bars are in proportion, one of a thousand is still seen, and none has no bar."""
    assert [24, 12, 1] == heights(sparkline([1000, 0, 500, 1], "outcomes"))
    assert [] == heights(sparkline([0] * 24, "none"))


def test_a_label_is_escaped() -> None:
    """The label is a text, whatever is in it."""
    assert "<script" not in sparkline([1], '"><script>alert(1)</script>')


def test_outcomes_are_sorted_into_the_last_24_hours() -> None:
    """The last hour is the present one; what is older or of another clock's future is left out."""
    now = 1_000 * HOUR + 60
    sums = [Sum(named_hour(hour), "completed", 2) for hour in (976, 977, 1_000, 1_001)]
    assert {"completed": [2, *[0] * 22, 2]} == by_hour(sums, now)
