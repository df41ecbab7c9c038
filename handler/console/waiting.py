"""Waiting messages that an operator brings back at once, or cancels.

The ledger has the body of each message that waits. What is brought back is recorded first, as due now and
with one wait more, and published then: if the operator's program is killed in between, the sweep publishes it
(``handler.worker.sweep``). The copy that is still in a wait queue is remembered as replaced. When it comes
back and its event has ended, a worker acknowledges it and publishes nothing.

What is cancelled has its end in the ledger first. If the operator's program is killed before it has published
that, the message comes back by itself, and a worker publishes it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

from events.decode import decode, ids_of, parse_message
from events.errors import EventError, EventIds
from events.message import Message, wrap
from events.outcome import CONTENT_TYPE, Category, outcome
from events.republish import inert
from events.snapshot import SnapshotEvent
from events.state_keys import StateKeys
from handler import bootstrap
from handler.backup import result as results
from handler.backup.ports import Busy, Created, Finished, Key
from handler.backup.received import Received
from handler.broker.outbox import BrokerOutbox
from handler.errors import Unroutable
from handler.ledger.control import SOON_SECONDS, Taken, WaitingChoice
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.ledger import StoredLedger
from handler.settings import Settings

REASON = "cancelled by an operator"

_BATCH = 200
_MANY = 10_000


class Which(NamedTuple):
    """Which waiting messages: of these snapshots, this project, this reason; None: any."""

    snapshots: Sequence[str] | None = None
    project: str | None = None
    reason: str | None = None


class Retried(NamedTuple):
    """How many messages were brought back, and how many no key of ours has signed."""

    returned: int = 0
    unreadable: int = 0


class Waits(NamedTuple):
    """What bringing back and cancelling work with; ``outbox`` is that of an open connection."""

    ledger: StoredLedger
    outbox: BrokerOutbox
    keys: StateKeys | None
    queue: str


@asynccontextmanager
async def opened_waits(settings: Settings, ledger: StoredLedger) -> AsyncIterator[Waits]:
    """Connect to the broker. Raises ``BrokerError``, and ``LedgerUnavailable`` where the keys are in it."""
    keys = await bootstrap.state_keys(settings, ledger)
    ignored = settings.result_unroutable == "ignore"
    async with await bootstrap.open_connection(settings) as connection:
        outbox = BrokerOutbox(connection, bootstrap.topology(settings), ignore_unroutable=ignored)
        yield Waits(ledger, outbox, keys, settings.snapshot_queue)


async def retry_now(waits: Waits, which: Which) -> Retried:
    """Bring back what waits now, in batches. A message that comes back meanwhile is left alone.

    Raises ``LedgerUnavailable``, ``ConnectionLost``; what was brought back before stays so.
    """
    as_of = (await waits.ledger.list_waiting(WaitingFilter(0))).as_of
    total = Retried()
    for snapshot in which.snapshots if which.snapshots is not None else (None,):
        choice = WaitingChoice(_BATCH, as_of, which.project, which.reason, snapshot)
        done = await _retry_all(waits, choice, as_of)
        total = Retried(total.returned + done.returned, total.unreadable + done.unreadable)
    return total


async def _retry_all(waits: Waits, choice: WaitingChoice, now: float) -> Retried:
    returned, unreadable = 0, set[str]()
    while True:
        # What was brought back is not found again, since it is due; what is unreadable is.
        found = await waits.ledger.choose_waiting(choice._replace(limit=_BATCH + len(unreadable)))
        bodies = {each: _once_more(each, waits.keys, now) for each in found if each.id not in unreadable}
        if not bodies:
            return Retried(returned, len(unreadable))
        unreadable |= {each.id for each, body in bodies.items() if body is None}
        tries = [_return(waits, each, body) for each, body in bodies.items() if body is not None]
        returned += sum(await asyncio.gather(*tries))


async def _return(waits: Waits, taken: Taken, body: bytes) -> bool:
    """Record a message as due now, and publish it; False where it came back meanwhile."""
    if not await waits.ledger.bring_back(taken, body):
        return False
    await waits.outbox.return_to_queue(body)
    return True


def _once_more(taken: Taken, keys: StateKeys | None, now: float) -> bytes | None:
    """Return the body of a waiting message after one wait more; None where it is not authentic."""
    received = _received(taken, keys, now)
    if received is None:
        return None
    state = received.state._replace(waits=taken.waits + 1)
    event_id = str(json.loads(taken.body)["id"])
    return wrap(received.original, state, event_id=event_id, subject=taken.snapshot_id, keys=keys)


def _received(taken: Taken, keys: StateKeys | None, now: float) -> Received | None:
    parsed = parse_message(Message(taken.body, CONTENT_TYPE), now=now, keys=keys)
    return Received(parsed.original, parsed.state) if parsed.believed and parsed.state.waits else None


CancelledWhat = Literal["cancelled", "ends later", "in hand", "in progress", "ended", "unreadable", "unknown"]

TEXTS: dict[CancelledWhat, str] = {
    "cancelled": "cancelled: backup.failed is published, and the message is a dead letter",
    "ends later": "cancelled: a worker publishes backup.failed and the dead letter when its message is back",
    "in hand": "not cancelled: a worker handles it right now; try again in a minute",
    "in progress": "not cancelled: the API makes its backup already; its end is published",
    "ended": "not cancelled: it has ended before",
    "unreadable": "not cancelled: no key of ours has signed its waiting message",
    "unknown": "not cancelled: no message about it waits",
}
"""What became of each message."""


class Cancelled(NamedTuple):
    """What became of one waiting message of a snapshot, in a word and in a sentence."""

    snapshot_id: str
    project_id: str | None
    event_id: str | None
    what: CancelledWhat
    text: str

    @property
    def is_cancelled(self) -> bool:
        """Whether its event has ended, or will, as cancelled."""
        return self.what in ("cancelled", "ends later")


def texts(done: Sequence[Cancelled]) -> str:
    """Return what became of several messages, each text once."""
    return "; ".join(sorted({each.text for each in done}))


async def cancel(waits: Waits, snapshot_id: str, *, project: str | None = None) -> Sequence[Cancelled]:
    """End the waiting messages of a snapshot as cancelled; what cannot be cancelled is named.

    Raises ``LedgerUnavailable``, ``ConnectionLost``; what has an end in the ledger then ends by itself.
    """
    as_of = (await waits.ledger.list_waiting(WaitingFilter(0))).as_of
    choice = WaitingChoice(_MANY, as_of, project, None, snapshot_id, also_due=True)
    found = await waits.ledger.choose_waiting(choice)
    if not found:
        return [_cancelled(Taken("", b"", 0, 0.0, project, snapshot_id), None, "unknown")]
    return [await _cancel(waits, each, as_of) for each in found]


def _cancelled(taken: Taken, event_id: str | None, what: CancelledWhat, more: str = "") -> Cancelled:
    text = f"{TEXTS[what]}{more}"
    return Cancelled(taken.snapshot_id or "", taken.project_id, event_id, what, text)


async def _cancel(waits: Waits, taken: Taken, now: float) -> Cancelled:
    """Record the end in the ledger first, then publish it, then forget the message."""
    received = _received(taken, waits.keys, now)
    ids = _ids(received, taken) if received else None
    if received is None or ids is None or ids.project_id is None or ids.snapshot_id is None:
        return _cancelled(taken, None, "unreadable")
    state, event_id = received.state, str(ids.event_id)
    key = Key(ids.project_id, ids.snapshot_id)
    cause = f"{event_id}#{state.replay}" if state.replay else event_id
    end = await waits.ledger.cancel(
        key, cause, REASON, attempts=state.attempts, replay=state.replay is not None
    )
    match end:
        case Busy():
            return _cancelled(taken, event_id, "in hand")
        case Created():
            return _cancelled(taken, event_id, "in progress", f" (backup {end.backup.id})")
        case Finished(failure=failure) if failure and failure.category is Category.CANCELLED:
            what: CancelledWhat = "ends later"
            if taken.due_at > now + SOON_SECONDS and await _publish(waits, received, ids, end, now):
                await waits.ledger.end_waiting(taken)
                what = "cancelled"
            return _cancelled(taken, event_id, what, failure.message.removeprefix(REASON))
    return _cancelled(taken, event_id, "ended")


def _ids(received: Received, taken: Taken) -> EventIds | None:
    """Return the ids of the event, with the project that the worker gave it."""
    try:
        event = decode(received.original, max_bytes=len(received.original.body) + 1)
    except EventError:
        return None
    if not isinstance(event, SnapshotEvent):
        return None
    return ids_of(event)._replace(project_id=taken.project_id)


async def _publish(waits: Waits, received: Received, ids: EventIds, end: Finished, now: float) -> bool:
    """Publish outcome and dead letter; False where no queue is bound for the outcome."""
    if end.failure is None:
        return False
    result = results.ended(received, ids, end.failure, attempts=end.attempts)
    if result.outcome is None:
        return False
    headers = results.dead_letter_headers(result, end.failure, now=now, queue=waits.queue)
    try:
        await waits.outbox.publish_outcome(outcome(result.outcome, traceparent=received.state.traceparent))
    except Unroutable:
        return False
    await waits.outbox.dead_letter(inert(received.original.blanked()), headers)
    return True
