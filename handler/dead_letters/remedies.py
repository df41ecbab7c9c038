"""What to do about a dead letter of each category; the column *do* of the operator's guide."""

from collections.abc import Mapping
from typing import Final

_FIX: Final = "fix the cause, `replay`"

REMEDIES: Final[Mapping[str, str]] = {
    "malformed": "fix the producer, `drop`",
    "invalid": "fix the producer, which publishes a new event; `drop`",
    "refused": "`replay` once the named cause is fixed, else `drop`",
    "denied": "grant the rights, `replay`",
    "quota": "make room, `replay`",
    "not_found": "`drop`",
    "conflict": "`replay`",
    "throttled": "`replay`",
    "unavailable": "`replay`",
    "in_doubt": "`replay`: the program looks the backup up before it sends anything",
    "backup_error": (
        "fix that, `replay`: the program makes another backup, unless the API shows that the first one is "
        "sound after all"
    ),
    "expired": "`replay`",
    "cancelled": "`replay` if it is wanted after all, else `drop`",
    "rejected": _FIX,
    "maxlen": _FIX,
    "delivery_limit": _FIX,
    "unknown": "`show` it; `replay` if it is an event, else `drop`",
}
"""By category."""

CODES: Final[Mapping[tuple[str, str], str]] = {
    ("invalid", "poison"): "fix the cause, `replay`: the program looks first for a backup that was made",
    ("invalid", "too_large_to_wait"): "raise the limit, `replay`",
    ("invalid", "bug"): "report it; `replay` once it is fixed",
}
"""By category and code, where the code decides."""


def remedy(category: str, code: str | None = None) -> str:
    """Return what to do, as plain text. A category that another program has invented is as an unknown one."""
    text = CODES.get((category, code or "")) or REMEDIES.get(category) or REMEDIES["unknown"]
    return text.replace("`", "")
