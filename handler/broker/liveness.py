"""``Liveness``: notices a broker that is silent or does not answer, and has its connection given up.

TCP alone notices neither: the kernel of a paused machine acknowledges what its broker never reads. pika
compares windows of the heartbeat and five seconds more, and may need two of them.

Everything is counted in ticks of a second, not in times: after a pause of our own process the answers may be
in the socket already, and must be read before they count as missing.
"""

import asyncio
from collections.abc import Callable

TICK = 1.0
ANSWER_SECONDS = 8
"""How long a publisher confirm, a new channel or consuming may take before another address is tried: longer
than the queues of a cluster take to elect another leader."""


class Liveness:
    """Watches one connection, once a second, until it is stopped.

    ``received`` counts the bytes from the broker. After ``silent`` seconds without any, ``lose`` is called
    with the reason; 0 means never. Where an answer is overdue, ``move`` says whether to leave for another
    address. While ``blocked`` the broker answers late on purpose.
    """

    def __init__(
        self,
        received: Callable[[], int],
        lose: Callable[[str], None],
        *,
        silent: int,
        move: Callable[[], bool],
    ) -> None:
        self.blocked = False
        self._received = received
        self._lose = lose
        self._silent = silent
        self._move = move
        self._before = received()
        self._idle = 0
        self._ticks = 0
        self._expected: dict[object, tuple[int, str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._timer = asyncio.get_running_loop().call_later(TICK, self._next)

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def expect(self, key: object, what: str, seconds: int) -> None:
        """Expect an answer within ``seconds``, unless ``key`` has one to come already."""
        self._expected.setdefault(key, (self._ticks + seconds, what))

    def answered(self, key: object) -> None:
        """Expect it no longer."""
        self._expected.pop(key, None)

    def _next(self) -> None:
        self.start()
        self.tick()

    def tick(self) -> None:
        """Count one second."""
        now = self._received()
        self._idle = 0 if now != self._before else self._idle + 1
        self._before = now
        self._ticks += not self.blocked
        if self._silent and self._idle >= self._silent:
            self._lose(f"the broker is silent: no byte for {self._idle} s, not even a heartbeat")
        elif (what := self._overdue()) and self._move():
            self._lose(f"the broker does not answer in time ({what}); another address is tried")

    def _overdue(self) -> str | None:
        """Return what is overdue."""
        return next((what for due, what in self._expected.values() if due < self._ticks), None)
