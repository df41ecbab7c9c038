"""How long the API asks to wait: ``Retry-After``, the body's ``retryAfter``, or a throttling text."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 3600.0
"""Seconds; a longer time is reduced to this."""

_LIMIT = r"(?i)limit:\s*\d{1,9},\s*time:\s*(\d{1,6})\s*(second|minute|hour|day)"
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RETRIES_PER_WINDOW = 10
_LOCKED = r"(?i)account is locked"
_LOCKED_SECONDS = 900.0


def retry_after(headers: Mapping[str, str], from_body: str | None, text: str) -> float | None:
    """Return seconds from 0 to ``LONGEST``, or None if no source is readable.

    The header precedes the body's value, and both precede the ``text``. A date is relative to the answer's
    own ``Date``, so that a wrong clock on either side does no harm.
    """
    for value in (headers.get("retry-after"), from_body):
        seconds = _seconds(value, headers.get("date")) if value else None
        if seconds is not None:
            return seconds
    return _from_text(text)


def _seconds(value: str, date: str | None) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return _until(value, date)
    return None if math.isnan(number) else _bounded(number)


def _until(value: str, date: str | None) -> float | None:
    then = _date(value)
    if then is None:
        return None
    now = (_date(date) if date else None) or datetime.now(UTC)
    return _bounded((then - now).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST)


def _from_text(text: str) -> float | None:
    """Return a tenth of a throttling text's window, from 1 s to 60 s; for a locked IAM account 15 minutes.

    The text gives the length of the window, not its end. ``…policy user over ratelimit,limit:200,time:5
    minute`` becomes 30 s: at most ten more refusals per window. Waiting for a whole window would waste half
    of it on average.
    """
    if re.search(_LOCKED, text):
        return _LOCKED_SECONDS
    found = re.search(_LIMIT, text)
    if found is None:
        return None
    window = int(found[1]) * _SECONDS[found[2].lower()]
    return min(max(window / _RETRIES_PER_WINDOW, 1.0), 60.0)
