"""What a run shows, on a page and in plain lines."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from infra.local.account import Entry
from infra.local.display import Counters, Line, Page, Plain, Rate, outcome_line, waiting_line

ENTRY = Entry("a nightly snapshot", "cinder")


def line(outcome: str = "completed") -> Line:
    """One that is shown."""
    return Line(1.25, "cinder", "a nightly snapshot", outcome, "backup 6c1f0b7a")


def told(kind: str, **data: Any) -> dict[str, Any]:
    """An outcome, as far as it is shown."""
    return {"type": f"backup.{kind}", "subject": "b7d05a1e", "data": data}


def drawn(page: Page, console: Console) -> str:
    """The page as it stands on a console."""
    with console.capture() as capture:
        console.print(page)
    return capture.get()


def a_page(*, width: int, height: int) -> tuple[Page, Console]:
    """A page on a console of this size."""
    console = Console(width=width, height=height, force_terminal=True, no_color=True, file=io.StringIO())
    return Page(Live(console=console)), console


def test_plain_lines_say_form_outcome_what_and_why() -> None:
    """A pipe gets one line for each thing that happens."""
    out = io.StringIO()
    Plain(out, many=False).show(line())
    assert "  1.2s  cinder       completed  a nightly snapshot - backup 6c1f0b7a\n" == out.getvalue()


def test_of_many_events_plain_lines_tell_what_record_failure_only() -> None:
    """Ten thousand lines of success help nobody."""
    out = io.StringIO()
    plain = Plain(out, many=True)
    plain.show(line("completed"))
    assert "" == out.getvalue()
    plain.show(line("failed"))
    assert "failed" in out.getvalue()


def test_progress_of_many_events_comes_every_two_seconds_where_it_changed() -> None:
    """Neither a flood nor silence."""
    out, now = io.StringIO(), [0.0]
    plain = Plain(out, many=True, clock=lambda: now[0])
    plain.update(Counters({"sent": 1}))
    assert "" == out.getvalue()
    now[0] = 2.0
    plain.update(Counters({"sent": 1}))
    now[0] = 4.0
    plain.update(Counters({"sent": 1}))
    assert "sent 1\n" == out.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
def test_a_page_fits_its_terminal(width: int, height: int) -> None:
    """However much has happened, it is no higher and no wider than the terminal."""
    page, console = a_page(width=width, height=height)
    page.update(Counters({"sent": 1000, "completed": 900}, 12.5, "sending"))
    page.pin("\n".join(f"  line {n}" for n in range(8)))
    for _ in range(100):
        page.show(line())
    lines = Text.from_ansi(drawn(page, console)).plain.splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "sending (12.5 ends/s)" == lines[-1].rstrip()


def test_a_page_shows_the_last_events() -> None:
    """What is old makes room."""
    page, console = a_page(width=100, height=24)
    for number in range(100):
        page.show(Line(float(number), "data", f"event {number}", "completed", ""))
    text = drawn(page, console)
    assert "event 99" in text
    assert "event 50" not in text


def test_without_colour_the_words_are_enough() -> None:
    """NO_COLOR: what became of an event is a word, not a colour alone."""
    page, console = a_page(width=100, height=24)
    page.show(line("failed"))
    text = drawn(page, console)
    assert "failed" in text
    assert "\x1b[3" not in text


def test_a_rate_is_that_of_the_last_seconds() -> None:
    """Ten in five seconds are two a second; six seconds later there are none."""
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
        (told("accepted", backup={"id": "6c1f0b7a-93d4"}, found=False), "backup 6c1f0b7a"),
        (told("accepted", backup={"id": "6c1f0b7a-93d4"}, found=True), "backup 6c1f0b7a, found"),
        (told("completed", backup={"id": "6c1f0b7a-93d4"}, seconds=5.04), "backup 6c1f0b7a, 5.0 s"),
        (told("failed", error={"category": "quota", "message": "full"}), "quota: full"),
        (told("skipped", reason="made by the service"), "made by the service"),
    ],
)
def test_each_outcome_says_what_it_is_about(outcome: dict[str, Any], detail: str) -> None:
    """The backup, the reason, or what went wrong."""
    assert detail == outcome_line(0.0, ENTRY, outcome, again=False).detail


def test_a_repeat_is_called_one() -> None:
    """The second telling of the same end is no news."""
    shown = outcome_line(0.0, ENTRY, told("skipped", reason="x"), again=True)
    assert "told again" == shown.detail


def test_an_event_from_elsewhere_is_yours() -> None:
    """What somebody publishes from another shell is shown too, by its snapshot."""
    shown = outcome_line(0.0, None, told("skipped", reason="x"), again=False)
    assert ("yours", "snapshot b7d05a1e") == (shown.form, shown.what)


def test_a_wait_says_for_what() -> None:
    """The reason in the broker becomes words."""
    assert "to look whether it was made" == waiting_line(0.0, ENTRY, "lookup").detail
