"""The function's entry: FunctionGraph calls ``handler`` with what its trigger has collected.

The platform imports this by way of the bundle's ``index.py``. A call that raises is repeated as a whole (at
most as often as the trigger's settings say), which is safe, since every step is.
"""

import time
from typing import Any, Final

from events.decode import unpack
from events.message import Message
from handler import logs
from handler.function_instance import Instance
from handler.function_settings import deadline_of, settings_of
from handler.reply import Kind

COUNTED: Final[tuple[Kind, ...]] = ("accepted", "completed", "failed", "skipped", "waiting")
"""What becomes of messages; notifications that are for others count only as received."""

_warm: list[Instance] = []
"""The one instance that this process is, as soon as there is one."""


def initializer(context: Any) -> None:
    """Prepare a new instance. Raises ``SettingsError``, which the platform shows."""
    _instance(context)


def handler(event: object, context: Any) -> dict[str, int]:
    """Handle one call: a trigger's batch, or a single event.

    Returns how many messages were received and what became of them: ``received``, ``accepted``,
    ``completed``, ``failed``, ``skipped``, ``waiting``. The broker has confirmed all that replaces them.

    Raises:
        SettingsError: a setting is missing or wrong.
        BrokerError: the broker is out of reach; the platform is to call again.

    """
    deadline = deadline_of(context, now=time.monotonic())
    instance = _instance(context)
    messages = _messages(event)
    kinds = instance.call(messages, context, deadline) if messages else {}
    return {"received": len(messages)} | {kind: kinds.get(kind, 0) for kind in COUNTED}


def close() -> None:
    """End the instance. The platform never does; tests do."""
    while _warm:
        _warm.pop().close()


def _instance(context: Any) -> Instance:
    if not _warm:
        settings = settings_of(context)
        logs.set_up(settings.log_level, settings.log_format)
        _warm.append(Instance(settings))
    return _warm[0]


def _messages(event: object) -> list[Message]:
    """Take the call apart; a timer's tick only keeps the instance warm."""
    if isinstance(event, dict) and event.get("trigger_type") == "TIMER":
        return []
    try:
        return unpack(event)
    except (TypeError, RecursionError):
        # Not what the platform hands over, which was JSON: there are no bytes to keep.
        return [Message(f"a call with a {type(event).__name__} that is no JSON".encode())]
