"""A worker process as a supervisor sees it, which a test lets answer, hang and end."""

import asyncio
import signal
from collections.abc import Mapping
from typing import cast

from handler.status.server import Answer
from handler.supervisor.child import Child


class TwinChild:
    """A twin of ``handler.supervisor.child.Child``: ``pages`` answers; what is not there hangs."""

    def __init__(
        self, number: int, pages: Mapping[str, Answer | None] | None = None, *, stubborn: bool = False
    ) -> None:
        self.number = number
        self.pid = 1000 + number
        self.begun = False
        self.age = 0.0
        self.pages = dict(pages or {})
        self.sent: list[signal.Signals] = []
        self._stubborn = stubborn
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ask(self, path: str) -> Answer | None:
        """Answer a page, or hang until the end."""
        if path not in self.pages:
            await asyncio.shield(self._end)
            return None
        self.begun = True
        return self.pages[path]

    def send(self, number: signal.Signals) -> None:
        """Take a signal; a stubborn one ends only by SIGKILL."""
        self.sent.append(number)
        if number == signal.SIGKILL:
            self.end(-signal.SIGKILL)
        elif not self._stubborn:
            self.end(0)

    def end(self, code: int) -> None:
        """End with an exit code."""
        if not self._end.done():
            self._end.set_result(code)

    async def ended(self) -> int:
        """Wait for the end."""
        return await asyncio.shield(self._end)

    def as_child(self) -> Child:
        """Return it as the class that it stands for."""
        return cast("Child", self)
