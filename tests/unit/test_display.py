"""Unit tests of the display of a run: the page and the plain lines."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from infra.local.account import Entry
from infra.local.display import Counters, Line, Page, Plain, Rate, outcome_line, progress, waiting_line

ENTRY = Entry("a nightly snapshot", "cinder")


def line(outcome: str = "completed") -> Line:
    """Return a line about an event."""
    return Line(1.25, "cinder", "a nightly snapshot", outcome, "backup 6c1f0b7a")


def outcome_of(kind: str, **data: Any) -> dict[str, Any]:
    """Return an outcome with the fields that are displayed."""
    return {"type": f"backup.{kind}", "subject": "b7d05a1e", "data": data}


def drawn(page: Page, console: Console) -> str:
    """Return the page as it is drawn on a console."""
    with console.capture() as capture:
        console.print(page)
    return capture.get()


def a_page(*, width: int, height: int) -> tuple[Page, Console]:
    """Return a page on a console of this size."""
    console = Console(width=width, height=height, force_terminal=True, no_color=True, file=io.StringIO())
    return Page(Live(console=console)), console


def test_a_plain_line_has_form_outcome_event_and_detail() -> None:
    """The plain display prints one line with all fields of a `Line`."""
    out = io.StringIO()
    Plain(out, many=False).show(line())
    assert "  1.2s  cinder       completed  a nightly snapshot - backup 6c1f0b7a\n" == out.getvalue()


def test_plain_lines_show_only_failures_of_many_events() -> None:
    """The plain display of many events prints no line for a success."""
    out = io.StringIO()
    plain = Plain(out, many=True)
    plain.show(line("completed"))
    assert "" == out.getvalue()
    plain.show(line("failed"))
    assert "failed" in out.getvalue()


def test_plain_lines_show_changed_counts_every_two_seconds() -> None:
    """The plain display prints counts at most every two seconds, and only if they have changed."""
    out, now = io.StringIO(), [0.0]
    plain = Plain(out, many=True, clock=lambda: now[0])
    plain.update(Counters({"sent": 1}))
    assert "" == out.getvalue()
    now[0] = 2.0
    plain.update(Counters({"sent": 1}))
    now[0] = 4.0
    plain.update(Counters({"sent": 1}))
    assert "starting: accepted 0 of 0, 0 outcomes/s (sent 1)\n" == out.getvalue()


def test_a_run_without_news_prints_its_progress_every_ten_seconds() -> None:
    """An unfinished run prints a line at least every ten seconds; a finished run prints no more lines."""
    out, now = io.StringIO(), [0.0]
    plain = Plain(out, many=True, clock=lambda: now[0])
    waiting, finished = Counters({"sent": 1}, total=1), Counters({"sent": 1}, total=1, seconds_left=0.0)
    for second in range(2, 33):
        now[0] = second
        plain.update(waiting)
    assert 4 == len(out.getvalue().splitlines())
    now[0] = 60.0
    plain.update(finished)
    assert 4 == len(out.getvalue().splitlines())


def test_progress_names_accepted_of_total_rate_and_time_left() -> None:
    """The time left is in minutes and seconds, and is missing while no rate is known."""
    counters = Counters({"accepted": 12300}, 850.4, "sending", 100000, 103.2)
    assert "sending: accepted 12,300 of 100,000, 850 outcomes/s, about 1 min 44 s left" == progress(counters)
    assert "starting: accepted 0 of 5, 0 outcomes/s" == progress(Counters(total=5))


def test_the_longest_progress_line_fits_a_terminal() -> None:
    """The progress of 100,000 events in the state with the longest name fits eighty columns."""
    counters = Counters({"accepted": 100000}, 1200, "tracking", 100000, 735)
    assert len(progress(counters)) <= 80


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
def test_a_page_fits_its_terminal(width: int, height: int) -> None:
    """The page is never higher or wider than the terminal."""
    page, console = a_page(width=width, height=height)
    page.update(Counters({"sent": 1000, "completed": 900}, 12.0, "sending", 1000, 127.5))
    page.pin("\n".join(f"  line {n}" for n in range(8)))
    for _ in range(100):
        page.show(line())
    lines = Text.from_ansi(drawn(page, console)).plain.splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "sending: accepted 0 of 1,000, 12 outcomes/s, about 2 min 8 s left" == lines[-1].rstrip()


def test_a_page_shows_the_last_events() -> None:
    """The page drops the oldest events when there is no room."""
    page, console = a_page(width=100, height=24)
    for number in range(100):
        page.show(Line(float(number), "data", f"event {number}", "completed", ""))
    text = drawn(page, console)
    assert "event 99" in text
    assert "event 50" not in text


def test_the_page_names_the_outcome_without_colour() -> None:
    """With NO_COLOR the page still shows the outcome of an event as a word."""
    page, console = a_page(width=100, height=24)
    page.show(line("failed"))
    text = drawn(page, console)
    assert "failed" in text
    assert "\x1b[3" not in text


def test_a_rate_covers_the_last_five_seconds() -> None:
    """Ten events in five seconds give a rate of 2; six seconds later it is 0."""
    now = [100.0]
    rate = Rate(lambda: now[0])
    for _ in range(10):
        rate.add()
    assert 2.0 == rate.now()
    now[0] += 6
    assert 0.0 == rate.now()


@pytest.mark.parametrize(
    ("outcome", "detail"),
    [
        (outcome_of("accepted", backup={"id": "6c1f0b7a-93d4"}, found=False), "backup 6c1f0b7a"),
        (outcome_of("accepted", backup={"id": "6c1f0b7a-93d4"}, found=True), "backup 6c1f0b7a, found"),
        (outcome_of("completed", backup={"id": "6c1f0b7a-93d4"}, seconds=5.04), "backup 6c1f0b7a, 5.0 s"),
        (outcome_of("failed", error={"category": "quota", "message": "full"}), "quota: full"),
        (outcome_of("skipped", reason="made by the service"), "made by the service"),
    ],
)
def test_the_line_of_an_outcome_has_its_detail(outcome: dict[str, Any], detail: str) -> None:
    """The detail is the backup, the reason of a skip, or the error."""
    assert detail == outcome_line(0.0, ENTRY, outcome, again=False).detail


def test_a_second_publication_is_marked() -> None:
    """The line of an outcome that is published again says so."""
    shown = outcome_line(0.0, ENTRY, outcome_of("skipped", reason="x"), again=True)
    assert "published again" == shown.detail


def test_an_event_from_another_shell_is_shown_as_yours() -> None:
    """The line of an event that the user published names its snapshot."""
    shown = outcome_line(0.0, None, outcome_of("skipped", reason="x"), again=False)
    assert ("yours", "snapshot b7d05a1e") == (shown.form, shown.what)


def test_the_line_of_a_delayed_event_says_what_it_waits_for() -> None:
    """The reason of the delay is shown as words."""
    assert "to look up whether the backup exists" == waiting_line(0.0, ENTRY, "lookup").detail
