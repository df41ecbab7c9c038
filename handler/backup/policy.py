"""The policy: one pure function from a failed call to a decision.

A failure has a scope, which the evidence about other calls tells (``evidence``). *Message*: other calls like
it succeed. *Project*, *route*: only the calls of its project, or of its route, fail. *Service*: the API, the
sign-in or the ledger fails. Attempts are counted only by evidence about this very message, and they run out.
Without it only ``MAX_AGE`` ends the wait.

| category                   | scope        | decision                                                 |
|----------------------------|--------------|----------------------------------------------------------|
| invalid refused            | message      | fail at once                                             |
| not_found                  | message      | wait and try again, counted; fail once it is certain     |
| quota                      | message      | fail at once: an operator must make room, then replay    |
| denied, 403 of the API     | message      | fail at once: waiting does not bring rights; but if our  |
|                            |              | own project is refused too, the service's: wait          |
| denied, token renewed      | message      | wait, not counted, and look up first                     |
| denied, other              | by evidence  | wait, not counted; if our own project is fine, the       |
|                            |              | project's                                                |
| conflict                   | message      | wait and try again, counted; if busy, look up first      |
| in_doubt                   | by evidence  | look up; counted only if other creates succeed           |
| throttled, by the API      | project      | wait as long as the API says, not counted                |
| throttled, by a gateway    | service      | the same                                                 |
| unavailable                | by evidence  | wait, not counted                                        |
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from events.outcome import Category
from handler.backup.evidence import Scope
from handler.errors import ApiError, CallHeld

Action = Literal["wait", "look_up", "fail"]
Account = Literal["fine", "failing", "unknown"]

_FINAL = frozenset({Category.INVALID, Category.REFUSED, Category.QUOTA})
_FORBIDDEN = 403
_LONGEST_PAUSE_STEP = 2
_MANY_HELD = 3

LOOKUPS_UNTIL_CERTAIN = 3
"""A slow server may commit late, and a node of the API may read from a database that lags behind."""


class Limits(NamedTuple):
    """The settings that bound a message; ``delays`` (of ``WAIT_LADDER``) and ``max_age`` are in seconds."""

    delays: Sequence[int]
    max_attempts: int
    max_age: float
    settle_time: float
    """Seconds for which the API may still work on a call whose connection was lost."""

    def delay(self, step: int) -> float:
        """Return the delay for the ``step``-th wait; the last delay for all later ones."""
        return self.delays[min(max(step, 0), len(self.delays) - 1)]


class Decision(NamedTuple):
    """What to do about a failure; ``seconds`` is the delay if the action is not ``fail``."""

    action: Action
    category: Category
    scope: Scope
    seconds: float = 0.0
    counted: bool = False


class Seen(NamedTuple):
    """What was seen of other calls.

    ``scope`` is whom the failure concerns, by the calls that succeed meanwhile. ``creates_fine``: backups of
    other snapshots were made since this message's last try. ``account``: whether the API accepts our account
    in our own project, where that matters. ``home``: the message is of our own project. ``held``: how many
    projects and routes are held.
    """

    scope: Scope = "service"
    creates_fine: bool = False
    account: Account = "unknown"
    home: bool = False
    held: int = 0


def decide(error: ApiError, *, attempts: int, waits: int, age: float, limits: Limits, seen: Seen) -> Decision:
    """Decide what a failed call means.

    Args:
        error: what the API said, or did not say.
        attempts: counted tries so far, this one not included.
        waits: waits of any kind so far.
        age: seconds since the message was first seen.
        limits: the bounds.
        seen: what was seen of other calls.

    """
    decision = _family(error, attempts=attempts, waits=waits, age=age, limits=limits, seen=seen)
    if decision.action == "fail":
        return decision
    if decision.counted and attempts + 1 >= limits.max_attempts:
        return Decision("fail", error.category, "message", counted=True)
    if age >= limits.max_age and not (isinstance(error, CallHeld) and not error.lasting):
        late = Category.IN_DOUBT if error.category is Category.IN_DOUBT else Category.EXPIRED
        return Decision("fail", late, decision.scope)
    return decision


def _family(
    error: ApiError, *, attempts: int, waits: int, age: float, limits: Limits, seen: Seen
) -> Decision:
    category = error.category
    asked = error.retry_after or 0.0
    pause = max(asked, limits.delay(min(waits, _LONGEST_PAUSE_STEP)))
    if category in _FINAL or (_is_refused_for_good(error) and seen.account != "failing"):
        return Decision("fail", category, "message", counted=True)
    match category:
        case Category.NOT_FOUND:
            certain = absence_is_certain(lookups=attempts + 1, seconds=age, limits=limits)
            end: Action = "fail" if certain else "wait"
            return Decision(end, category, "message", limits.delay(attempts + 1), counted=True)
        case Category.CONFLICT:
            action: Action = "look_up" if error.busy else "wait"
            return Decision(action, category, "message", max(asked, limits.delay(attempts)), counted=True)
        case Category.IN_DOUBT:
            scope: Scope = "service" if seen.scope == "service" else "route"
            return Decision("look_up", category, scope, limits.delay(0), counted=seen.creates_fine)
        case Category.THROTTLED:
            return Decision("wait", category, _throttled(error, seen), pause)
        case Category.DENIED if error.renewed:
            return Decision("wait", category, "message", limits.delay(0))
        case Category.DENIED if seen.account == "fine" and not seen.home:
            return Decision("wait", category, "project", pause)
        case _:
            return Decision("wait", category, seen.scope, pause)


def _is_refused_for_good(error: ApiError) -> bool:
    return error.category is Category.DENIED and error.status == _FORBIDDEN and error.from_api


def _throttled(error: ApiError, seen: Seen) -> Scope:
    """Return whom throttling concerns: the API limits each project, a gateway or proxy all our calls.

    If the API throttles many projects and no other call succeeds, it limits all our calls too. Without a
    status the sign-in limits itself for new projects, which producers can make up.
    """
    alone = seen.scope in ("message", "project") or seen.held < _MANY_HELD
    if not error.from_api or (error.status is not None and not alone):
        return "service"
    return "project"


_LONGEST_PAUSED = 600


def paused_delay(waits: int, limits: Limits) -> float:
    """Return the seconds until a message asks again whether its project is still paused by an operator.

    The delay grows with each wait, so that a long backlog costs little; the end of a pause brings all back.
    """
    delays = [delay for delay in limits.delays if delay <= _LONGEST_PAUSED] or limits.delays[:1]
    return delays[min(waits, len(delays) - 1)]


def absence_is_certain(*, lookups: int, seconds: float, limits: Limits) -> bool:
    """Return whether what so many lookups in so many seconds did not find does not exist.

    One lookup that finds nothing proves little, wherever something ends or begins with it: a second request
    for a backup, the failure of a backup or of a snapshot that the API does not know (any more).
    """
    return lookups >= LOOKUPS_UNTIL_CERTAIN and seconds >= limits.settle_time


_TRACKING_BASE = 30.0
_TRACKING_PER_GB = 20.0
_FIRST_LOOKUP = 1 / 10
_LATER_LOOKUPS = 1 / 4


def tracking_delay(*, age: float, size_gb: int | None) -> float:
    """Return the seconds until the next call about a backup that was accepted ``age`` seconds ago.

    A backup takes about 30 s and 20 s per GB (cinder-csi's estimate). The first call comes after a tenth of
    that, since incremental backups are much faster. Each later call comes after a quarter of the backup's
    age, so that the end is published at most that late. The delay is rounded up to one of ``WAIT_LADDER``.
    """
    expected = _TRACKING_BASE + _TRACKING_PER_GB * (size_gb or 1)
    return max(expected * _FIRST_LOOKUP, age * _LATER_LOOKUPS)
