"""The supervisor: keeps worker processes running until it is stopped, and starts again what ends."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from handler.supervisor.child import Child
from handler.supervisor.restarts import End, Restart, how, restart
from handler.tasks import unless

log = logging.getLogger(__name__)

_MARGIN_SECONDS = 1.0
"""How much longer than ``DRAIN_SECONDS`` a worker has for its end."""

_NOT_STARTED = 126
"""The exit code of shells for a program that cannot be executed."""


class Place:
    """The place of one worker process; its number stays when the process is another one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.why = "not started yet"
        """Why there is no process."""


class Supervisor:
    """Keeps ``count`` worker processes.

    ``start`` starts one. ``retired`` is called with its number when a process has ended. The random numbers
    of ``rng`` spread the restarts.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[int], Awaitable[Child]],
        *,
        drain_seconds: float,
        retired: Callable[[int], None] = lambda _number: None,
        rng: Random | None = None,
    ) -> None:
        self.places: Sequence[Place] = [Place(number) for number in range(1, count + 1)]
        self.restarts = 0
        self._start = start
        self._seconds = drain_seconds + _MARGIN_SECONDS
        self._retired = retired
        self._rng = rng or Random()  # noqa: S311 - spreads restarts, keeps no secret
        self._begun = asyncio.Event()
        self._stop = asyncio.Event()
        self._hasten = asyncio.Event()
        self._code = 0

    def stop(self) -> None:
        """Have all workers finish what is in hand; the second call ends them at once."""
        (self._hasten if self._stop.is_set() else self._stop).set()

    async def run(self) -> int:
        """Run until stopped, or until a worker refuses its settings; return the exit code."""
        keepers = [asyncio.create_task(self._keep(place)) for place in self.places]
        stopping = asyncio.create_task(self._stop.wait())
        # A keeper ends before only by an error within the program.
        ends: list[asyncio.Task[Any]] = [stopping, *keepers]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await self._end(keepers)
        finally:
            stopping.cancel()
            self._send(signal.SIGKILL)
            await asyncio.gather(*keepers)
        return self._code

    async def _end(self, keepers: Sequence["asyncio.Task[None]"]) -> None:
        """End all workers: orderly, and after a time at once."""
        self._send(signal.SIGTERM)
        hastened = asyncio.create_task(self._hasten.wait())
        ends: list[asyncio.Future[Any]] = [hastened, asyncio.gather(*keepers)]
        await asyncio.wait(ends, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        hastened.cancel()
        if left := [place.number for place in self.places if place.child]:
            why = (
                "a second signal came"
                if self._hasten.is_set()
                else f"they did not end within {self._seconds:g} s"
            )
            log.warning(
                "workers %s are killed: %s; what they have in hand is delivered again",
                ", ".join(map(str, left)),
                why,
                extra={"action": "supervisor.killed"},
            )

    def _send(self, number: signal.Signals) -> None:
        for place in self.places:
            if place.child:
                place.child.send(number)

    async def _keep(self, place: Place) -> None:
        """Keep a place filled. The others wait for the first, so that a wrong setting is said once."""
        if place.number > 1:
            await unless(self._stop, self._begun.wait())
        row = 0
        while not self._stop.is_set():
            end = await self._fill(place)
            if self._stop.is_set():
                return
            next_start = restart(end, row, self._rng.random())
            if next_start is None:
                self._code = end.code
                log.error(
                    "worker %d %s: its settings are refused, so all workers end",
                    place.number,
                    how(end.code),
                    extra={"action": "supervisor.refused", "worker": place.number},
                )
                self._stop.set()
                return
            self._say(place, end, next_start)
            row = next_start.row
            await unless(self._stop, asyncio.sleep(next_start.seconds))

    async def _fill(self, place: Place) -> End:
        """Start a worker, and wait for its end."""
        try:
            child = await self._start(place.number)
        except OSError as error:
            log.warning(
                "worker %d cannot be started: %s", place.number, error, extra={"action": "supervisor.start"}
            )
            return End(_NOT_STARTED, 0.0)
        place.child = child
        log.info(
            "worker %d is started, pid %d",
            place.number,
            child.pid,
            extra={"action": "supervisor.start", "worker": place.number},
        )
        if self._stop.is_set():
            child.send(signal.SIGTERM)
        first_answer = asyncio.create_task(self._wait_for_answer(child))
        code = await child.ended()
        end = End(code, child.age)
        await first_answer
        place.child = None
        self._retired(place.number)
        return end

    async def _wait_for_answer(self, child: Child) -> None:
        """Wait until a worker answers: it has read its settings, and opened its parts."""
        if await child.ask("/healthz"):
            self._begun.set()

    def _say(self, place: Place, end: End, next_start: Restart) -> None:
        self.restarts += 1
        place.why = f"{how(end.code)} after {end.ran:.1f} s; is started again"
        log.warning(
            "worker %d %s after %.1f s; it is started again in %.1f s",
            place.number,
            how(end.code),
            end.ran,
            next_start.seconds,
            extra={"action": "supervisor.restart", "worker": place.number},
        )
