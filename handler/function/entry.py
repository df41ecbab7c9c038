"""The function's entry: FunctionGraph calls ``handler`` with the messages that its trigger collected.

The bundle's ``index.py`` imports this module. The other modules are imported when the instance is made, so
that an import error is an error of the initializer, whose text the platform shows.

The platform repeats a call that raises, as a whole and as often as the function's asynchronous settings say.
That is safe, since each step is safe to repeat.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from handler.function.deadline import deadline_of

if TYPE_CHECKING:
    from handler.function.instance import Instance

_warm: "list[Instance]" = []
"""The one instance that this process is, once there is one."""


def initializer(context: Any) -> None:
    """Prepare a new instance. Raises ``SettingsError``, whose text names the variable."""
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
    return _instance(context).handle(event, context, deadline)


def close() -> None:
    """End the instance and its connections. The platform freezes it for good; other callers tidy up."""
    while _warm:
        _warm.pop().close()


def _instance(context: Any) -> "Instance":
    if not _warm:
        with _kept():
            from handler.function.instance import new_instance

            _warm.append(new_instance(context))
    return _warm[0]


@contextmanager
def _kept() -> Iterator[None]:
    """Keep everything that is made meanwhile out of the garbage collector's rounds.

    None of it is garbage. Measured: the rounds take 5 % of a cold start, and the first of them after it as
    much again where it is not frozen.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
