"""This machine's clock against the ``Date`` header of the API."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

import httpx

from handler.doctor.findings import Finding

WARN_SECONDS = 300.0
BAD_SECONDS = 900.0
"""The API's gateway refuses signatures whose time is further off."""


class Clocks:
    """Notes the difference of the clocks with each answer of the API; the last one counts."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    def note(self, response: httpx.Response) -> None:
        """Note by how many seconds our clock is ahead of the answer's ``Date``."""
        try:
            there = parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            return
        self._ahead = time.time() - there.replace(tzinfo=there.tzinfo or UTC).timestamp()

    def finding(self) -> Finding:
        """Judge the difference."""
        if self._ahead is None:
            return Finding("clock", "clock", "warning", "not checked: the API gave no answer with a date")
        return clock_finding(self._ahead)


def clock_finding(ahead: float) -> Finding:
    """Judge a clock that is so many seconds ahead of the API's."""
    off = abs(ahead)
    if off < WARN_SECONDS:
        return Finding("clock", "clock", "ok", f"within {max(round(off), 1)} s of the API's")
    text = f"{off / 60:.0f} minutes {'ahead of' if ahead > 0 else 'behind'} the API's"
    remedy = "set this machine's clock and keep it by NTP (timedatectl set-ntp true)"
    if off < BAD_SECONDS:
        return Finding("clock", "clock", "warning", f"{text}; from 15 on signed calls are refused", remedy)
    return Finding("clock", "clock", "bad", f"{text}: signed calls are refused", remedy)
