"""Times for the operator, in ISO 8601."""

from datetime import UTC, datetime


def iso(seconds: float | None) -> str | None:
    """Return a time in seconds since the epoch as text; None for none, and for 0."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
