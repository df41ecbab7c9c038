"""Findings on what operators have set, and on why messages wait."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import get_args

from events.message import WaitReason
from handler.backup.control import Control, Pause
from handler.doctor.findings import Finding
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.ledger import StoredLedger


async def examine_control(ledger: StoredLedger, queue: str) -> AsyncIterator[Finding]:
    """Name what is paused, and what else operators have set for all workers."""
    for finding in control_findings(await ledger.control(queue), queue):
        yield finding


def control_findings(control: Control, queue: str) -> Iterator[Finding]:
    """Yield a finding on each pause, and one where there is none.

    A paused worker still consumes: a queue without a consumer has no worker at all.
    """
    if control.queue:
        yield _paused(f"queue {queue}", control.queue, "snapshot-backup resume")
    for project, pause in control.projects.items():
        yield _paused(f"project {project}", pause, f"snapshot-backup resume --project {project}")
    if not control.queue and not control.projects:
        yield Finding("ledger", "pauses", "ok", "no operator has paused the queue or a project")
    if control.concurrency:
        text = f"an operator has set it to {control.concurrency} for all workers"
        remedy = "snapshot-backup concurrency default ends that"
        yield Finding("ledger", "CONCURRENCY", "ok", text, remedy)


def _paused(what: str, pause: Pause, command: str) -> Finding:
    since = datetime.fromtimestamp(pause.since, UTC).isoformat(timespec="seconds")
    text = (
        f"an operator has paused it since {since} ({pause.reason or 'no reason given'}): new events wait, "
        "and workers that run need no restart"
    )
    return Finding("ledger", what, "warning", text, f"{command} ends it")


async def reasons(ledger: StoredLedger) -> str:
    """Return why messages wait, with counts: ``3 track, 2 paused``; empty where none waits."""
    counts = {
        reason: (await ledger.list_waiting(WaitingFilter(0, reason=reason))).total
        for reason in get_args(WaitReason)
    }
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
