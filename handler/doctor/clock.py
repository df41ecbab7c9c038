"""Check of this machine's clock against the API's ``Date`` header."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from handler.doctor.findings import Finding

WARN_SECONDS = 300.0
BAD_SECONDS = 900.0
"""Beyond this difference the API's gateway refuses signed calls."""


class Clocks:
    """The difference between this clock and the API's, from the latest answer."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    def note(self, response: httpx.Response) -> None:
        """Record by how many seconds this clock is ahead of the answer's ``Date``."""
        try:
            there = parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            return
        self._ahead = time.time() - there.replace(tzinfo=there.tzinfo or UTC).timestamp()

    def finding(self) -> Finding:
        """Return a finding on the difference."""
        if self._ahead is None:
            return Finding(
                "clock", "clock", "warning", "not checked: the API sent no answer with a Date header"
            )
        return clock_finding(self._ahead)


def clock_finding(ahead: float) -> Finding:
    """Return a finding on a clock that is so many seconds ahead of the API's."""
    off = abs(ahead)
    if off < WARN_SECONDS:
        return Finding("clock", "clock", "ok", f"within {max(round(off), 1)} s of the API's")
    text = f"{off / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'} the API's"
    remedy = "set this machine's clock, and enable NTP: timedatectl set-ntp true"
    if off < BAD_SECONDS:
        return Finding(
            "clock", "clock", "warning", f"{text}; from 15 minutes on signed calls are refused", remedy
        )
    return Finding("clock", "clock", "bad", f"{text}: signed calls are refused", remedy)
