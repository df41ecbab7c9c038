"""What pages and API answer from: one query each, with the reason where there is no answer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from handler.console.ledger_access import LedgerAccess
from handler.console.standing import document, standing, unknown, waiting_document
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.search import Found, Slice

SEARCH_SECONDS = 1.0
"""How long one search reads; then it says where to go on."""
_SHOWN = 20


class Waits(NamedTuple):
    """Messages that wait, how many there are, and how many of those shown are due."""

    messages: Sequence[Mapping[str, Any]]
    total: int
    due: int


async def snapshot_documents(
    ledger: LedgerAccess, snapshot_id: str, project_id: str | None, *, tracked: bool
) -> Sequence[Mapping[str, Any]]:
    """Return where a snapshot stands, in each project that has it. Raises ``LedgerUnavailable``."""
    records = await ledger.open().snapshots(snapshot_id, project_id)
    found = [standing(each, tracked=tracked) for each in records]
    return [document(each) for each in found or [unknown(snapshot_id, project_id)]]


async def search(ledger: LedgerAccess, which: Slice) -> Found:
    """Find the snapshots of a backup, an event or a volume. Raises ``LedgerUnavailable``."""
    return await ledger.open().search(which, seconds=SEARCH_SECONDS)


async def found_documents(
    ledger: LedgerAccess, found: Found, *, tracked: bool
) -> Sequence[Mapping[str, Any]]:
    """Return where the snapshots stand that a search has found, the first of them."""
    keys = found.keys[:_SHOWN]
    return [each for key in keys for each in await snapshot_documents(ledger, *key[::-1], tracked=tracked)]


async def waits(ledger: LedgerAccess, which: WaitingFilter) -> Waits:
    """Return the messages that wait, those that are due first. Raises ``LedgerUnavailable``."""
    found = await ledger.open().list_waiting(which)
    due = sum(each.due_at < found.as_of for each in found.records)
    return Waits([waiting_document(each) for each in found.records], found.total, due)
