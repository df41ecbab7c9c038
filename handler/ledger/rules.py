"""The rules of the ledger, as pure functions over one row.

Each takes a row (None: no row) and the time. It returns its answer and the row to write (None: no change).
The stores only load and save rows in a transaction, so these rules hold in all of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from events.outcome import AcceptedBackup, Category, Failure
from handler.backup.ports import Busy, Claim, Created, Doubt, Finished, Granted, Key
from handler.ledger.row import Row, RowState, Slot

T = TypeVar("T")
Changed = tuple[T, Row | None]

MAY_HAVE_WORKED = "a request for its backup may have worked: look at the API, or replay, which looks first"

MAX_FAILURES = 100
"""Failures kept for each snapshot; the oldest is dropped first."""


def claim(
    row: Row | None, key: Key, cause: str, *, replay: bool, now: float, token: str, lease: float
) -> Changed[Claim]:
    """Decide who may make the backup, as ``Ledger.claim`` says.

    A cause that has failed gets the same failure again, whatever happened since: one event, one outcome.
    """
    row = row or Row()
    known = _known(row, cause, replay=replay)
    if known is not None:
        return known, None
    if row.token is not None and now < row.lease_until:
        return Busy(row.lease_until), None
    # An expired lease begins a new doubt, even where there is one. Its holder may have looked up often enough
    # and sent again; then the earlier lookups say nothing about that call.
    doubt = row.doubt if row.token is None else Doubt(since=now, lookups=0, lookup_after=now)
    # The API may have done the work of an earlier request, whatever was answered, and by whom.
    granted = Granted(
        key, token, doubt=doubt, ask_first=replay or row.sent, failed_backups=frozenset(row.failed_backups)
    )
    return granted, _leased(row, token, until=now + lease, doubt=doubt, now=now, slot=row.slot)


def _known(row: Row, cause: str, *, replay: bool) -> Created | Finished | None:
    """Return the end or the backup that is known already; None where a backup may be made."""
    if cause in row.failures:
        return row.failures[cause]
    if row.state is RowState.COMPLETED:
        return row.end
    if row.state is RowState.CREATED and row.backup is not None:
        return Created(row.backup, row.made_at)
    if row.state is RowState.ERROR and not replay:
        return row.end
    return None


def extend(row: Row | None, token: str, *, now: float, lease: float) -> Changed[bool]:
    """Renew a lease; False where another claim holds it, or the claim has ended."""
    if row is None or row.token != token:
        return False, None
    return True, _leased(row, token, until=now + lease, doubt=row.doubt, now=now, slot=row.slot)


def release(row: Row | None, token: str, *, now: float, sent: bool = False) -> Changed[None]:
    """Give the lease and the slot back. An older doubt stays with its slot: no answer has settled it."""
    if row is None or row.token != token:
        return None, None
    slot = row.slot if row.doubt else None
    return None, _leased(row, None, until=0.0, doubt=row.doubt, now=now, sent=sent, slot=slot)


def doubt(row: Row | None, token: str, doubt: Doubt, *, now: float) -> Changed[None]:
    """Record the doubt and give the lease back; a claim that replaced this one keeps its own doubt."""
    if row is None or row.token != token:
        return None, None
    return None, _leased(row, None, until=0.0, doubt=doubt, now=now, slot=_renewed(row, now))


def created(row: Row | None, token: str, backup: AcceptedBackup, *, now: float) -> Changed[str | None]:
    """Record the backup, even where another claim holds the lease.

    Where another backup is known, keep that one and return its id.
    """
    row = row or Row()
    if row.backup is not None and row.state in (RowState.CREATED, RowState.COMPLETED):
        first = row.backup.id
        return (None if first == backup.id else first), release(row, token, now=now)[1]
    if row.state is RowState.ERROR and backup.id in row.failed_backups:
        return None, release(row, token, now=now)[1]
    slot = _renewed(row, now)
    return None, _unclaimed(row, state=RowState.CREATED, backup=backup, made_at=now, now=now, slot=slot)


def refused(
    row: Row | None,
    token: str,
    cause: str,
    failure: Failure,
    *,
    attempts: int,
    now: float,
    sent: bool = False,
) -> Changed[None]:
    """Record the failure of this cause, which frees the slot. The backup and a doubt stay as they are."""
    released = release(row, token, now=now, sent=sent)[1]
    row = row or Row()
    # Another claim's slot stays, and that of a backup in progress.
    others = released is None and (row.token is not None or row.state is RowState.CREATED)
    slot = row.slot if others else None
    end = Finished(failure=failure, attempts=attempts)
    return None, replace(released or row, failures=_with(row.failures, cause, end), updated_at=now, slot=slot)


def give_up(
    row: Row | None, cause: str, end: Finished, *, tracked: bool, replay: bool, now: float
) -> Changed[Created | Finished]:
    """Record the failure of this cause, as ``Ledger.give_up`` says. A claim that holds keeps its slot."""
    row = row or Row()
    known = _known(row, cause, replay=replay)
    if isinstance(known, Finished) or (isinstance(known, Created) and not tracked):
        return known, None
    held = row.token is not None and now < row.lease_until
    slot = row.slot if held and not tracked else None
    return end, replace(row, failures=_with(row.failures, cause, end), updated_at=now, slot=slot)


def cancel(
    row: Row | None, cause: str, reason: str, *, attempts: int, replay: bool, now: float
) -> Changed[Finished | Created | Busy]:
    """Record that an operator has cancelled this cause, as ``StoredLedger.cancel`` says.

    A claim whose lease has ended leaves a doubt: its holder may have sent a request before it vanished.
    """
    row = row or Row()
    known = _known(row, cause, replay=replay)
    if known is not None:
        return known, None
    if row.token is not None and row.lease_until > now:
        return Busy(row.lease_until), None
    doubt = row.doubt if row.token is None else Doubt(since=now, lookups=0, lookup_after=now)
    text = f"{reason}; {MAY_HAVE_WORKED}" if doubt else reason
    end = Finished(failure=Failure(category=Category.CANCELLED, message=text), attempts=attempts)
    released = _leased(row, None, until=0.0, doubt=doubt, now=now, slot=None)
    return end, replace(released, failures=_with(row.failures, cause, end))


def finished(
    row: Row | None, end: Finished, *, backup_id: str, cause: str, now: float
) -> Changed[str | None]:
    """Record the end of a backup. The first completed backup is never replaced.

    Returns the id of the backup that was known before, where that is another one.
    """
    row = row or Row()
    other = row.backup.id if row.backup is not None and row.backup.id != backup_id else None
    if end.failure is None:
        return other, _completed(row, end, backup_id, now=now)
    row = replace(row, failures=_with(row.failures, cause, end), updated_at=now)
    if end.failure.category is Category.EXPIRED:
        return other, _still_made(row, backup_id, now=now)
    return other, _with_failed_backup(row, end, backup_id, now=now)


def _completed(row: Row, end: Finished, backup_id: str, *, now: float) -> Row | None:
    if row.state is RowState.COMPLETED:
        return None
    known = row.backup is not None and row.backup.id == backup_id
    backup = row.backup if known else AcceptedBackup(id=backup_id)
    return _unclaimed(
        row, state=RowState.COMPLETED, backup=backup, made_at=row.made_at or now, end=end, now=now
    )


def _still_made(row: Row, backup_id: str, *, now: float) -> Row:
    """Keep an expired backup as created: only its event has ended, with its slot, and it may yet complete."""
    if row.state is not RowState.OPEN:
        return replace(row, slot=None)
    return _unclaimed(row, state=RowState.CREATED, backup=AcceptedBackup(id=backup_id), made_at=now, now=now)


def _with_failed_backup(row: Row, end: Finished, backup_id: str, *, now: float) -> Row:
    """Record a backup that ended in error. A late report of an older backup leaves the newer one as it is."""
    current = row.backup is None or row.backup.id == backup_id
    late = backup_id in row.failed_backups and row.state is not RowState.CREATED
    if backup_id not in row.failed_backups:
        row = replace(row, failed_backups=(*row.failed_backups, backup_id))
    if row.state is RowState.COMPLETED or late or not current:
        return row
    return _unclaimed(row, state=RowState.ERROR, backup=None, made_at=0.0, end=end, now=now)


def _leased(
    row: Row,
    token: str | None,
    *,
    until: float,
    doubt: Doubt | None,
    now: float,
    sent: bool = False,
    slot: Slot | None,
) -> Row:
    """Return the row with another lease. ``dataclasses.replace`` would take four times as long."""
    return Row(
        row.state,
        token,
        until,
        doubt,
        row.backup,
        row.made_at,
        row.end,
        row.failures,
        row.failed_backups,
        updated_at=now,
        sent=row.sent or sent,
        slot=slot,
    )


def _unclaimed(
    row: Row,
    *,
    state: RowState,
    backup: AcceptedBackup | None,
    made_at: float,
    now: float,
    end: Finished | None = None,
    slot: Slot | None = None,
) -> Row:
    """Return the row in a new state, without lease and doubt."""
    return Row(
        state,
        None,
        0.0,
        None,
        backup,
        made_at,
        end,
        row.failures,
        row.failed_backups,
        updated_at=now,
        slot=slot,
    )


def _renewed(row: Row, now: float) -> Slot | None:
    return row.slot and row.slot.renewed(now)


def _with(failures: Mapping[str, Finished], cause: str, end: Finished) -> Mapping[str, Finished]:
    """Add the failure of a cause, unless the cause has one already."""
    if cause in failures:
        return failures
    return dict([*failures.items(), (cause, end)][-MAX_FAILURES:])
