"""What a FunctionGraph call brings: the settings in its user data, and how long it may take.

The context is the platform's object; only what is documented of it, and works, is asked for.
"""

import os
from typing import Any, NamedTuple

from pydantic import SecretStr

from handler.settings import Settings, load_settings

_DEFAULT_TIMEOUT = 3.0
"""Seconds that the platform gives where nothing else is configured."""
_LONGEST_MARGIN = 10.0


def settings_of(context: Any) -> Settings:
    """Read the settings from the function's user data, then from where all settings come.

    Without a ``LEDGER_URL`` the ledger is ``none``: a file would be on one instance's own disk, gone with it
    and unknown to the others, so that only asking the API tells what they have made.

    Raises:
        SettingsError: with one line that names each bad variable.

    """
    told = {field: context.getUserData(field.upper()) for field in Settings.model_fields}
    settings = load_settings(**{field: value for field, value in told.items() if value})
    if "ledger_url" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"ledger_url": SecretStr("none")})


class Deadline(NamedTuple):
    """The end of a call, in monotonic seconds.

    At ``soft`` what is not finished is handed to a wait queue; what the broker has not confirmed at ``hard``
    is left to the platform, which would end the call soon after.
    """

    soft: float
    hard: float


def deadline_of(context: Any, *, now: float) -> Deadline:
    """Return the deadline of a call that began at ``now``.

    ``RUNTIME_TIMEOUT`` rules, since runtimes are known whose remaining time is negative, or in other units:
    what the context says counts only where it is possible.
    """
    timeout = _number(os.environ.get("RUNTIME_TIMEOUT")) or _DEFAULT_TIMEOUT
    remaining = _number(context.getRemainingTimeInMilliSeconds())
    seconds = remaining / 1000 if 0 < remaining <= timeout * 1000 else timeout
    margin = min(seconds / 4, _LONGEST_MARGIN)
    return Deadline(soft=now + seconds - margin, hard=now + seconds - margin / 4)


def _number(value: object) -> float:
    """Return a number that is one, else 0."""
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        return 0.0
