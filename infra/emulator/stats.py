"""Counts of calls, by route and status."""

from collections import Counter, defaultdict


class Stats:
    """Counts calls by route and status; a call without an answer counts as `none`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Set all counts to zero."""
        self._calls: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, route: str, status: int | None) -> None:
        """Count one call."""
        self._calls[route]["none" if status is None else str(status)] += 1

    def by_route(self) -> dict[str, dict[str, int]]:
        """Return the counts: {route: {status: count}}."""
        return {route: dict(counts) for route, counts in self._calls.items()}
