"""rich's console, through which nothing from outside steers the terminal."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from handler.printable import printable


class SafeConsole(Console):
    """A console whose texts are made safe where all of them pass: rich lets ESC and U+009B through.

    Line ends stay: a caller that prints one line makes its parts safe by ``printable``.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of what is printed; rich's own controls stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, keep="\n"))
