"""Walks over ledgers, of which one takes the quick path: all must answer and keep the same.

A walk is a list of steps about one snapshot, chosen at random, which each ledger does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Doubt, Finished, Granted, Key, Waiting
from handler.backup.running import Limit, Room
from handler.ledger.inquiry import By
from handler.ledger.ledger import StoredLedger

BYS: Sequence[By] = ("hour", "project", "category")
ROOM = Room((Limit("all", 1_000_000),), hold=1e9, delays=(1, 2))
_NOTE = Failure(category=Category.INVALID, message="no")
_ENDS = {
    "failed": Finished(failure=Failure(category=Category.BACKUP_ERROR, message="no"), attempts=2),
    "expired": Finished(failure=Failure(category=Category.EXPIRED, message="no")),
}
# The usual ones more often than the others.
_CALLS = (
    *("claimed", "created", "completed") * 4,
    *("claimed with a slot",) * 2,
    *("refused", "released", "doubted"),
    *("failed", "expired", "gave up", "cancelled", "renewed", "delayed", "published", "pruned"),
)
_CLAIM_CALLS = ("created", "refused", "released", "doubted")


class Step(NamedTuple):
    """One call; the others choose among events, backups and the last claims."""

    call: str
    event: str
    backup: str
    claim: int
    flag: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(_CALLS),
        st.sampled_from(["event 1", "event 2"]),
        st.sampled_from([*["b1"] * 4, "b2", 'b"3\\\t', "b€4", '"made_at":5']),
        st.sampled_from([0, 0, 0, 1]),
        st.booleans(),
    ),
    max_size=10,
)

WITH_A_SLOT = [
    Step(call, "event 1", "b1", 0, flag=False) for call in ("claimed with a slot", "created", "completed")
]
"""A walk that chance seldom takes: the end of a backup frees its slot."""


def without_quick_path(ledger: StoredLedger) -> StoredLedger:
    """Let a ledger do every change by the rules."""
    change = ledger._store.change

    async def plain(key: Key, by_rules: Any, quick: Any = None) -> Any:
        return await change(key, by_rules)

    ledger._store.change = plain  # type: ignore[method-assign, assignment]
    return ledger


class Walker:
    """Does the steps of a walk on one ledger."""

    def __init__(self, ledger: StoredLedger, key: Key) -> None:
        self._ledger = ledger
        ledger._owner = "worker"  # tokens are then the same in all ledgers
        self._key = key
        self._claims: list[Granted] = []

    async def do(self, step: Step) -> object:
        """Do a step and return the answer."""
        if step.call in _CLAIM_CALLS:
            await self._settle(step)
            return None
        answer: object = await self._change(step)
        if isinstance(answer, Granted):
            self._claims.insert(0, answer)
        return answer

    async def _settle(self, step: Step) -> None:
        """End one of the last claims, which may have ended before."""
        if len(self._claims) <= step.claim:
            return
        claim = self._claims[step.claim]._replace(sent=step.flag)
        match step.call:
            case "created":
                backup = AcceptedBackup(id=step.backup, name='"made_at":7}' if step.flag else None)
                await self._ledger.created(claim, backup)
            case "released":
                await self._ledger.release(claim)
            case "doubted":
                await self._ledger.doubt(claim, Doubt(since=100.0, lookups=step.claim, lookup_after=105.0))
            case _:
                await self._ledger.refused(claim, step.event, _NOTE, attempts=1)

    async def _change(self, step: Step) -> object:
        ledger, key, cause, flag = self._ledger, self._key, step.event, step.flag
        waiting_id = f"{cause} of {key.snapshot_id}"
        match step.call:
            case "claimed":
                return await ledger.claim(key, cause, replay=flag, known=step.claim > 0)
            case "claimed with a slot":
                return await ledger.claim(key, cause, room=ROOM)
            case "gave up":
                return await ledger.give_up(key, cause, _NOTE, attempts=1, tracked=flag)
            case "cancelled":
                return await ledger.cancel(key, cause, "an operator", attempts=1, replay=flag)
            case "renewed":
                await ledger.renew()
            case "delayed":
                return await ledger.record_waiting(
                    Waiting(f"{cause} of {key.snapshot_id}", b"body", 30.0, "track", 1, *key)
                )
            case "published":
                await ledger.forget_waiting(waiting_id)
            case "pruned":
                return await ledger.prune(0)
            case _:
                await self._finish(step)
        return None

    async def _finish(self, step: Step) -> None:
        end = _ENDS.get(step.call) or Finished(
            CompletedBackup(id=step.backup, status="available", name="näme" if step.flag else None),
            seconds=3.25,
        )
        await self._ledger.finished(self._key, end, backup_id=step.backup, cause=step.event)

    async def kept(self) -> object:
        """Return what the ledger keeps: of the snapshot, in its sums, and in its counts."""
        found = await self._ledger.snapshots(self._key.snapshot_id, self._key.project_id)
        sums = [await self._ledger.outcomes(0, by=by) for by in BYS]
        report = [await self._ledger.report(0, by=by) for by in BYS]
        return found, sums, report, await self._ledger.running()
