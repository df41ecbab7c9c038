"""The display of a run: a page that is redrawn on a terminal, or plain lines in a pipe or file."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from handler.commands.console import SafeConsole
from handler.printable import printable
from infra.local.account import Entry

MANY: Final = 100
"""With more events than this, plain lines show the progress instead of each event."""
PROGRESS_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 10.0
"""An unfinished run prints its progress at least this often, changed or not."""
RATE_SECONDS: Final = 5.0
AROUND: Final = 12  # lines of a page that show no events: counts, state, and the last text above the page

STYLES: Final[Mapping[str, str]] = {
    "accepted": "cyan",
    "completed": "green",
    "failed": "red",
    "skipped": "yellow",
    "waiting": "magenta",
}
WAITS: Final[Mapping[str, str]] = {
    "retry": "to try again",
    "lookup": "to look up whether the backup exists",
    "publish": "for a queue to publish the outcome to",
    "check": "for the snapshot to be complete",
    "pause": "for the API to recover",
    "paused": "until an operator resumes",
    "room": "for fewer backups to be in progress",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line about an event, `seconds` after the start of the run."""

    seconds: float
    form: str
    what: str
    outcome: str
    detail: str


@dataclass(slots=True)
class Counters:
    """All counts by name, in the order in which they are shown."""

    counts: dict[str, int] = field(default_factory=dict)
    rate: float = 0.0
    state: str = "starting"
    total: int = 0
    """Events that this run sends."""
    seconds_left: float | None = None
    """None: unknown. 0: every event has its terminal outcome."""


class Rate:
    """Counts how many things happen per second, over the last five seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque()

    def add(self) -> None:
        """Count one."""
        self._times.append(self._clock())

    def now(self) -> float:
        """Return the rate."""
        since = self._clock() - RATE_SECONDS
        while self._times and self._times[0] < since:
            self._times.popleft()
        return len(self._times) / RATE_SECONDS


class Display(Protocol):
    """Where a run writes its output."""

    def say(self, text: str) -> None:
        """Show a sentence."""

    def show(self, line: Line) -> None:
        """Show a line about an event."""

    def pin(self, text: str) -> None:
        """Show lines that stay visible."""

    def update(self, counters: Counters) -> None:
        """Show new counts."""


class Plain:
    """A display of plain lines, for pipes, files and simple terminals."""

    def __init__(self, out: TextIO, *, many: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._many = many
        self._clock = clock
        self._last = clock()
        self._shown: dict[str, int] = {}

    def say(self, text: str) -> None:
        """Print it."""
        print(printable(text, keep="\n"), file=self._out, flush=True)

    def show(self, line: Line) -> None:
        """Print the line; of many events, print no success."""
        if not self._many or line.outcome not in ("accepted", "completed"):
            what = f"{line.what} - {line.detail}" if line.detail else line.what
            self.say(f"{line.seconds:5.1f}s  {line.form:<11}  {line.outcome:<9}  {printable(what)}")

    def pin(self, text: str) -> None:
        """Print them."""
        self.say(text)

    def update(self, counters: Counters) -> None:
        """Print the progress of many events every two seconds if it has changed, else every ten."""
        now = self._clock()
        pause = PROGRESS_SECONDS if counters.counts != self._shown else SILENCE_SECONDS
        finished = counters.seconds_left == 0 and counters.counts == self._shown
        if not self._many or finished or now < self._last + pause:
            return
        self._last = now
        self._shown = dict(counters.counts)
        counts = ", ".join(
            f"{name} {count:,}" for name, count in counters.counts.items() if name != "accepted"
        )
        self.say(f"{progress(counters)} ({counts})")


class Page:
    """A display that is redrawn: counts above, the last events below. `say` prints above the page."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lines: deque[Line] = deque(maxlen=200)
        self._counters = Counters()
        self._pinned = ""

    def say(self, text: str) -> None:
        """Print it above the page; the terminal wraps a long line, so that it can be copied whole."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, line: Line) -> None:
        """Add it to the last events."""
        self._lines.append(line)

    def pin(self, text: str) -> None:
        """Keep them below the events."""
        self._pinned = text

    def update(self, counters: Counters) -> None:
        """Replace the counts."""
        self._counters = counters

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the page in the height of the terminal."""
        room = max(3, options.size.height - AROUND - len(self._pinned.splitlines()))
        last = list(self._lines)[-room:]
        yield Group(Text(), _counts(self._counters), Text(), _events(last), Text())
        if self._pinned:
            yield Text(self._pinned, no_wrap=True)
        yield Text(progress(self._counters), no_wrap=True)


def progress(counters: Counters) -> str:
    """Return one line: the state; while events are without an end, their number, the rate, the time left."""
    if counters.seconds_left == 0:
        return counters.state
    accepted = counters.counts.get("accepted", 0)
    parts = [f"accepted {accepted:,} of {counters.total:,}", f"{counters.rate:,.0f} outcomes/s"]
    if counters.seconds_left is not None:
        parts.append(f"about {_duration(counters.seconds_left)} left")
    return f"{counters.state}: {', '.join(parts)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _counts(counters: Counters) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False, header_style="dim")
    for name in counters.counts:
        table.add_column(name, justify="right")
    table.add_row(*(Text(str(count), style=STYLES.get(n, "bold")) for n, count in counters.counts.items()))
    return table


def _events(lines: list[Line]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False, expand=True)
    table.add_column(justify="right", no_wrap=True, width=6)
    table.add_column(no_wrap=True, width=11)
    table.add_column(no_wrap=True, width=9)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=5)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=4)
    for line in lines:
        outcome = Text(line.outcome, style=STYLES.get(line.outcome, ""))
        seconds = Text(f"{line.seconds:.1f}s", style="dim")
        what, detail = printable(line.what), printable(line.detail)
        table.add_row(seconds, line.form, outcome, Text(what), Text(detail, style="dim"))
    return table


@contextmanager
def opened(*, json: bool, many: bool) -> Iterator[Display]:
    """Open a display on standard output; with `json`, whose summary goes there, on standard error."""
    console = SafeConsole(stderr=json)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Plain(sys.stderr if json else sys.stdout, many=many)
        return
    with Live(console=console, refresh_per_second=8) as live:
        page = Page(live)
        live.update(page)
        yield page


def outcome_line(seconds: float, entry: Entry | None, outcome: Mapping[str, Any], *, again: bool) -> Line:
    """Return the line for an outcome, published `again` or not; without an entry the event is the user's."""
    kind = outcome["type"].removeprefix("backup.")
    form, what = (entry.form, entry.what) if entry else ("yours", f"snapshot {outcome.get('subject', '-')}")
    return Line(seconds, form, what, kind, "published again" if again else _detail(kind, outcome["data"]))


def waiting_line(seconds: float, entry: Entry, reason: str) -> Line:
    """Return the line that says why an event waits."""
    return Line(seconds, entry.form, entry.what, "waiting", WAITS.get(reason, reason))


def _detail(kind: str, data: Mapping[str, Any]) -> str:
    match kind:
        case "accepted":
            return f"backup {data['backup']['id'][:8]}{', found' if data['found'] else ''}"
        case "completed":
            return f"backup {data['backup']['id'][:8]}, {data['seconds']:.1f} s"
        case "failed":
            error = data["error"]
            return f"{error['category']}: {error['message']}"
        case _:
            return str(data.get("reason", ""))
