"""The terminal: rich's console, through which nothing from outside steers it, and what shows progress.

It is a module of its own since rich takes a tenth of a second to import, and a worker does not need it.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from handler.printable import printable

_TRAILING = re.compile(" +$", re.MULTILINE)


class SafeConsole(Console):
    """A console whose texts are made safe where all of them pass: rich lets ESC and U+009B through.

    Line ends stay: a caller that prints one line makes its parts safe by ``printable``. Where it is not a
    terminal, no line ends in spaces, with which rich fills the cells of tables.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, as rich does."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as printed:
            super().print(*objects, **options)
        super().print(Text(_TRAILING.sub("", printed.get())), end="", soft_wrap=True)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed; rich's own controls stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, keep="\n"))


def console() -> SafeConsole:
    """Return the console for results: standard output, with colour only on a terminal."""
    return SafeConsole(highlight=False)


def progress_console() -> SafeConsole:
    """Return the console for progress: standard error, so that results can be piped."""
    return SafeConsole(stderr=True, highlight=False)


def at_terminal() -> bool:
    """Return whether progress can be shown: standard error is a terminal that can move its cursor."""
    return sys.stderr.isatty() and not progress_console().is_dumb_terminal


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show at a terminal that work goes on; yields a function that shows another text."""
    if not at_terminal():
        yield lambda _: None
        return
    with progress_console().status(text) as status:
        yield status.update
