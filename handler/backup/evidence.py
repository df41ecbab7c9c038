"""Evidence: which calls the API answers while others fail, to tell whom a failure concerns.

A failure concerns one message if its project's other calls succeed meanwhile, one project if other projects'
calls succeed, one route if only other routes work, else the service. Memory is bounded: what was used longest
ago is forgotten first.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Literal, NamedTuple, TypeVar

Scope = Literal["message", "project", "route", "service"]
Route = Literal["create", "list", "show", "snapshot"]

REMEMBERED = 4096
"""Projects, and messages, that are remembered."""

K = TypeVar("K", bound=Hashable)
NEVER = float("-inf")


class Place(NamedTuple):
    """Where a call belongs: its route, its project, and the snapshot of its message."""

    route: Route
    project_id: str
    snapshot_id: str = ""


class Evidence:
    """Remembers when calls were answered, and since when they fail. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answered: OrderedDict[tuple[Route, str], float] = OrderedDict()
        self._failing: OrderedDict[tuple[Route, str], float] = OrderedDict()
        self._tried: OrderedDict[Place, float] = OrderedDict()
        self._route_answered: dict[Route, float] = {}
        self._route_failing: dict[Route, float] = {}
        self._made_at = NEVER

    def answered(self, place: Place, *, made: bool = False) -> None:
        """Record a definite answer of the API; ``made`` says that a backup was made, or found."""
        now, key = self._clock(), (place.route, place.project_id)
        _remember(self._answered, key, now)
        self._route_answered[place.route] = now
        self._failing.pop(key, None)
        self._route_failing.pop(place.route, None)
        if made:
            self._made_at = now

    def failed(self, place: Place) -> Scope:
        """Record a failure, and return whom it concerns."""
        now, route, key = self._clock(), place.route, (place.route, place.project_id)
        tried = self._tried.get(place)
        _remember(self._tried, place, now)
        project_since = self._failing.get(key, now)
        _remember(self._failing, key, project_since)
        route_since = self._route_failing.setdefault(route, now)
        if tried is not None and self._answered.get(key, NEVER) > tried:
            return "message"
        if self._route_answered.get(route, NEVER) > project_since:
            return "project"
        if any(at > route_since for other, at in self._route_answered.items() if other != route):
            return "route"
        return "service"

    def made_within(self, seconds: float) -> bool:
        """Return whether a backup was made in the last ``seconds``."""
        return self._clock() - self._made_at <= seconds

    def answered_within(self, place: Place, seconds: float) -> bool:
        """Return whether a call of this route and project was answered in the last ``seconds``."""
        at = self._answered.get((place.route, place.project_id), NEVER)
        return self._clock() - at <= seconds

    def others_answered_within(self, project_id: str, seconds: float) -> bool:
        """Return whether a call of another project was answered in the last ``seconds``."""
        now = self._clock()
        for (_, project), at in reversed(self._answered.items()):
            if now - at > seconds:
                return False
            if project != project_id:
                return True
        return False


def _remember(store: "OrderedDict[K, float]", key: K, at: float) -> None:
    store[key] = at
    store.move_to_end(key)
    if len(store) > REMEMBERED:
        store.popitem(last=False)
