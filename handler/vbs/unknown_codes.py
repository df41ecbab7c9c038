"""Counts the API's error codes that the program does not know, so that its table can grow."""

import logging
from collections import Counter

log = logging.getLogger(__name__)

MOST_CODES = 64
"""Codes that are counted by name: they come from outside, and must not fill the memory."""
_LONGEST = 40
_OTHERS = "other codes"


class UnknownCodes:
    """Counts codes by name, and logs the 1st, 10th, 100th, … answer with each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, code: str, status: int) -> None:
        """Count an answer with this code, which is handled by its HTTP status."""
        name = code[:_LONGEST]
        if name not in self.counts and len(self.counts) >= MOST_CODES:
            name = _OTHERS
        self.counts[name] += 1
        times = self.counts[name]
        if str(times).strip("0") == "1":
            log.warning(
                "the API answered with an error code that is not known: %s, %d times so far; "
                "it is handled by its HTTP status %d: please report it",
                name,
                times,
                status,
                extra={"action": "api.unknown_code", "code": name, "status": status, "times": times},
            )
