"""``Liveness``: notices a broker that is silent or does not answer, and has its connection given up.

TCP alone notices neither: the kernel of a paused machine acknowledges what its broker never reads. pika
compares windows of the heartbeat and five seconds more, and may need two of them.

A broker whose queues have lost their leader answers late, and is not silent: it opens a channel at once. So
where an answer does not come, and no byte does, a channel is asked for, and another address is tried beside
it. Only if that one answers, and this broker still sends no byte, its connection is given up early.

Everything is counted in ticks of a second, not in times: after a pause of our own process the answers may be
in the socket already, and must be read before they count as missing.
"""

import asyncio
from collections.abc import Awaitable, Callable

TICK = 1.0
ANSWER_SECONDS = 8
"""How long a publisher confirm, a new channel or consuming may take before another address is tried: longer
than the queues of a cluster take to elect another leader."""
COMPARE_SECONDS = 3
"""After so long without an answer and without a byte the broker is compared with another address."""
_LATE_SECONDS = 2
_COMPARED_SECONDS = 2
"""How long a comparison takes at least: a broker that is only busy answers in this time."""


class Liveness:
    """Watches one connection, once a second, until it is stopped.

    ``received`` counts the bytes from the broker. After ``silent`` seconds without any, ``lose`` is called
    with the reason; 0 means never. Where an answer is overdue, ``move`` says whether to leave for another
    address. ``compare`` has the broker asked for an answer that needs no queue, and says whether another
    address answers. While ``blocked`` the broker answers late on purpose. ``late`` counts the seconds in
    which it does so, or in which an answer is late.
    """

    def __init__(
        self,
        received: Callable[[], int],
        lose: Callable[[str], None],
        *,
        silent: int,
        move: Callable[[], bool],
        compare: Callable[[], Awaitable[bool]],
    ) -> None:
        self.blocked = False
        self.late = 0
        self._received = received
        self._lose = lose
        self._silent = silent
        self._move = move
        self._compare = compare
        self._before = received()
        self._idle = 0
        self._ticks = 0
        self._expected: dict[object, tuple[int, str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._comparison: asyncio.Future[bool] | None = None
        self._compared = 0

    def start(self) -> None:
        """Begin to watch."""
        self._timer = asyncio.get_running_loop().call_later(TICK, self._next)

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        self._end_comparison()

    def expect(self, key: object, what: str) -> None:
        """Expect an answer, unless ``key`` has one to come already."""
        self._expected.setdefault(key, (self._ticks, what))

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
        if not self._idle:
            self._end_comparison()
        waited, what = self._oldest()
        self.late += self.blocked or waited >= _LATE_SECONDS
        if self._silent and self._idle >= self._silent:
            self._lose(f"the broker is silent: no byte for {self._idle} s, not even a heartbeat")
        elif waited > ANSWER_SECONDS and self._move():
            self._lose(f"the broker does not answer in time ({what}); another address is tried")
        elif waited >= COMPARE_SECONDS and self._only_another_answers() and self._move():
            self._lose(f"the broker is silent: no byte for {self._idle} s, and another address answers")

    def _oldest(self) -> tuple[int, str]:
        """Return for how long the oldest answer is expected, and what it is."""
        since, what = next(iter(self._expected.values()), (self._ticks, ""))
        return self._ticks - since, what

    def _only_another_answers(self) -> bool:
        """Compare the broker with another address while no byte comes; return whether only that answers."""
        if self.blocked or self._idle < COMPARE_SECONDS:
            return False
        if self._comparison is None:
            self._comparison = asyncio.ensure_future(self._compare())
            self._compared = self._idle + _COMPARED_SECONDS
        return self._idle >= self._compared and self._comparison.done() and self._comparison.result()

    def _end_comparison(self) -> None:
        if self._comparison is not None:
            self._comparison.cancel()
            self._comparison = None
