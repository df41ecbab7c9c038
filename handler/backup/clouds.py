"""Clouds: several clouds in one worker, each with its own circuit breaker and its own messages in hand.

Each message goes to the cloud whose project it names, and one of a project that no cloud has to the first. A
cloud that is down, slow or throttled parks its own messages; those of the others go on.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from handler.backup import result as results
from handler.backup.breaker import BreakerState, CircuitBreaker
from handler.backup.evidence import Route
from handler.backup.ports import Api
from handler.backup.result import Job, Result
from handler.errors import ApiError

log = logging.getLogger(__name__)

_TURN_SECONDS = 1.0
"""How long a message waits for a place in its cloud, and how long a cloud counts as moving."""

_LEARNING_SECONDS = 1.0
_LONGEST_STEP = 3
"""Messages are parked by the first three delays of ``WAIT_LADDER``."""

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0


class Cloud:
    """One cloud: its API and circuit breaker, its project once that is known, and how much is in hand.

    ``learn`` signs in and returns the project. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        api: Api,
        breaker: CircuitBreaker,
        learn: Callable[[], Awaitable[str | None]],
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.api = api
        self.breaker = breaker
        self.project_id: str | None = None
        self.in_hand = 0
        self._learn = learn
        self._clock = clock
        self._turns: deque[asyncio.Future[None]] = deque()
        self._moved_at = clock()
        self._pause = _FIRST_PAUSE
        self._learn_at = clock()
        self._learning: asyncio.Task[None] | None = None
        self._failed = False

    def begin_learning(self) -> None:
        """Sign in to learn the project, unless that is done, runs, or has failed just now."""
        if self.project_id is None and self._learning is None and self._clock() >= self._learn_at:
            self._learning = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        problem: object = "its token is of no project"
        try:
            self.project_id = await self._learn()
        except ApiError as error:
            problem = error
        finally:
            self._learning = None
        if self.project_id is not None:
            log.info(
                "cloud %s: its project is %s", self.name, self.project_id, extra={"action": "cloud.known"}
            )
            return
        log.warning(
            "cloud %s: its project is not known, so events of projects that no other cloud has wait: %s",
            self.name,
            problem,
            extra={"action": "cloud.unknown"},
        )
        self._failed = True
        self._learn_at = self._clock() + self._pause
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)

    @property
    def first_learning(self) -> asyncio.Task[None] | None:
        """The first attempt to learn the project, while it runs. Later ones are not waited for."""
        return None if self._failed else self._learning

    async def enter(self) -> bool:
        """Take one more message in hand; return whether there is place for it.

        It waits for its turn only while the cloud's messages move: those of a cloud that hangs would else
        take the places of all others.
        """
        if self.in_hand < self.breaker.places and not self._turns:
            if not self.in_hand:
                self._moved_at = self._clock()
            self.in_hand += 1
            return True
        if self._clock() - self._moved_at > _TURN_SECONDS or self.breaker.places < self.breaker.full:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await asyncio.wait((turn,), timeout=_TURN_SECONDS)
        finally:
            if not turn.done():
                self._turns.remove(turn)
        return turn.done()

    def leave(self) -> None:
        """Take a message out of hand, and give its place to the one that waits longest."""
        self.in_hand -= 1
        self._moved_at = self._clock()
        while self._turns and self.in_hand < self.breaker.places:
            self.in_hand += 1
            self._turns.popleft().set_result(None)


class Clouds:
    """The clouds of a worker, the default one first."""

    def __init__(self, clouds: Sequence[Cloud], *, delays: Sequence[int]) -> None:
        self.clouds = clouds
        self._delays = delays[:_LONGEST_STEP]
        self._warned_of: set[str] = set()

    def learn(self) -> None:
        """Begin to learn the projects that are not known yet."""
        for cloud in self.clouds:
            cloud.begin_learning()

    def of(self, project_id: str) -> Cloud | None:
        """Return the cloud of a project; None while a cloud whose project is not known may have it."""
        having = [cloud for cloud in self.clouds if cloud.project_id == project_id]
        if len(having) > 1 and project_id not in self._warned_of:
            self._warned_of.add(project_id)
            log.warning(
                "the clouds %s have the same project %s: its events go to the first of them",
                ", ".join(cloud.name for cloud in having),
                project_id,
                extra={"action": "cloud.same_project"},
            )
        if having:
            return having[0]
        return None if self.unknown else self.clouds[0]

    def name_of(self, project_id: str) -> str:
        """Return the name of a project's cloud; empty while that is not known."""
        cloud = self.of(project_id)
        return cloud.name if cloud else ""

    @property
    def unknown(self) -> Sequence[Cloud]:
        """The clouds whose project is not known yet."""
        return [cloud for cloud in self.clouds if cloud.project_id is None]

    async def result(
        self, job: Job, handle: Callable[[Cloud, Job], Awaitable[Result]], *, too_old: bool
    ) -> Result:
        """Have a message handled by its cloud, or park it for that cloud's sake."""
        cloud = self.of(job.project_id) or await self._learned(job.project_id)
        if cloud is None and too_old:
            cloud = self.unknown[0]  # whose failing sign-in ends it
        if cloud is None or not await cloud.enter():
            # Each time for longer: a backlog that came back at once would keep worker and broker busy.
            return results.delayed(job, "pause", self._delays[min(job.state.waits, len(self._delays) - 1)])
        try:
            return await handle(cloud, job)
        finally:
            cloud.leave()

    async def _learned(self, project_id: str) -> Cloud | None:
        """Wait a moment for the projects that are being learned for the first time."""
        self.learn()
        loop = asyncio.get_running_loop()
        ends = loop.time() + _LEARNING_SECONDS
        while (tasks := [each.first_learning for each in self.clouds if each.first_learning]) and (
            left := ends - loop.time()
        ) > 0:
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if cloud := self.of(project_id):
                return cloud
        return self.of(project_id)


class Breakers:
    """The circuit breakers of several clouds as one: consuming goes on while one cloud takes messages."""

    def __init__(self, clouds: Sequence[Cloud]) -> None:
        self._clouds = clouds
        self._breakers = [cloud.breaker for cloud in clouds]

    @property
    def clouds(self) -> Mapping[str, CircuitBreaker]:
        """The circuit breakers by the names of their clouds."""
        return {cloud.name: cloud.breaker for cloud in self._clouds}

    @property
    def full(self) -> int:
        """How many messages may be in flight while all clouds are fine."""
        return sum(each.full for each in self._breakers)

    @property
    def limit(self) -> int:
        """How many messages may be in flight: ``CONCURRENCY`` for each cloud, while one of them is fine."""
        if any(each.state == "closed" for each in self._breakers):
            return sum(each.full for each in self._breakers)
        return sum(each.limit for each in self._breakers)

    @property
    def state(self) -> BreakerState:
        """Closed while one cloud's circuit breaker is, else half open while one probes, else open."""
        states = {each.state for each in self._breakers}
        return "closed" if "closed" in states else "half_open" if "half_open" in states else "open"

    @property
    def why(self) -> str | None:
        """Why no cloud's circuit breaker is closed; None where one is."""
        return None if self.state == "closed" else self._breakers[0].why

    @property
    def held_routes(self) -> Mapping[Route, str]:
        """The routes that are held in any cloud."""
        return {route: why for each in self._breakers for route, why in each.held_routes.items()}

    @property
    def held_projects(self) -> int:
        """How many projects are held, in all clouds."""
        return sum(each.held_projects for each in self._breakers)

    def resize(self, concurrency: int) -> None:
        """Change how many messages of each cloud may be in flight."""
        for each in self._breakers:
            each.resize(concurrency)

    def pause_left(self) -> float:
        """Seconds until the next message may be consumed; 0 while one cloud takes messages."""
        return 0.0 if self.state == "closed" else min(each.pause_left() for each in self._breakers)


AnyBreaker = CircuitBreaker | Breakers
"""What stops and resumes consuming: one cloud's circuit breaker, or those of several."""
