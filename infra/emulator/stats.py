"""Counts of calls, by route and by what was answered."""

from collections import Counter, defaultdict


class Stats:
    """Calls by route and status; a call that got no answer counts under `none`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start at nothing."""
        self._calls: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, route: str, status: int | None) -> None:
        """Count one call."""
        self._calls[route]["none" if status is None else str(status)] += 1

    def by_route(self) -> dict[str, dict[str, int]]:
        """Give the counts: {route: {status: count}}."""
        return {route: dict(counts) for route, counts in self._calls.items()}
