"""``snapshot-backup status``: where snapshots stand, by the ledger."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from handler.commands.common import AsJson, failing_plainly, print_json
from handler.commands.console import console
from handler.commands.opened_ledger import with_ledger
from handler.commands.values import checked, project
from handler.console.asked import snapshot
from handler.console.standing import Standing, document, standing, unknown
from handler.console.timeline import REASONS
from handler.ledger.ledger import StoredLedger
from handler.printable import printable
from handler.settings import load_settings

_NOT_YET, _UNKNOWN = 1, 3

_MESSAGES = {
    "in hand": "a worker handles it; its claim holds until {claimed_until}",
    "queue": "it is in the queue; if the broker has lost it, a worker publishes it again",
    "dead letters": "snapshot-backup dead-letters list --snapshot {snapshot_id}",
}


def status(
    snapshot_ids: Annotated[
        list[str],
        typer.Argument(metavar="SNAPSHOT_ID", callback=checked(snapshot), help="UUIDs of the snapshots."),
    ],
    project: Annotated[
        str | None,
        typer.Option(
            metavar="ID", callback=checked(project), help="Only in this project (default: in every one)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where snapshots stand: whether each is backed up, and if not, why.

    Shows the backup, where the snapshot's message is now, when it is due and why,
    and what has happened so far as a timeline. Reads the ledger that LEDGER_URL
    names, and nothing else. --json prints a line for each snapshot.

    Exit code: 0 all are backed up, 1 some are not (yet), 3 the ledger does not
    know some of them.
    """
    with failing_plainly():
        settings = load_settings()

        async def read(ledger: StoredLedger) -> Sequence[Standing]:
            found: list[Standing] = []
            for snapshot_id in dict.fromkeys(snapshot_ids):
                records = await ledger.snapshots(snapshot_id, project)
                standings = [standing(each, tracked=settings.track_backups) for each in records]
                found += standings or [unknown(snapshot_id, project)]
            return found

        found = with_ledger(settings, read, without="nothing is known of single snapshots")
    for each in found:
        if as_json:
            print_json(document(each))
        else:
            console().print("\n".join(_lines(each)), soft_wrap=True, markup=False)
    raise typer.Exit(_exit_code(found))


def _exit_code(found: Sequence[Standing]) -> int:
    if any(each.backed_up is None for each in found):
        return _UNKNOWN
    return 0 if all(each.backed_up for each in found) else _NOT_YET


def _lines(standing: Standing) -> Iterator[str]:
    """Yield what is known, a line each, safe for a terminal."""
    known = document(standing)
    answer = {True: "backed up", False: "not backed up", None: "unknown"}[standing.backed_up]
    state = "" if standing.state in ("completed", "unknown") else f" ({standing.state})"
    yield printable(f"{standing.snapshot_id}: {answer}{state}")
    if standing.backed_up is None:
        yield "  the ledger has no entry: no event about it was handled, or it was pruned since"
        return
    yield printable(f"  project  {standing.project_id}")
    if backup := known["backup"]:
        facts = [backup["id"], backup["name"], backup.get("status"), _after(known["seconds"])]
        yield printable(f"  backup   {', '.join(fact for fact in facts if fact)}")
    if known["accepted_at"]:
        yield f"  accepted {known['accepted_at']}"
    if doubt := known["in_doubt"]:
        yield (
            f"  in doubt since {doubt['since']}: a request may have worked; {doubt['lookups']} lookups found "
            f"nothing, the next is due {doubt['next_lookup']}"
        )
    for failure in known["failures"]:
        code = f" {failure['code']}" if failure["code"] else ""
        what = "skipped " if standing.state == "skipped" else f"failed   {failure['category']}{code}:"
        yield printable(f"  {what} {failure['message']}")
        yield printable(f"           event {failure['event_id']}")
    for backup_id in known["failed_backups"]:
        yield printable(f"  backup {backup_id} ended in error")
    for each in known["waiting"]:
        why = REASONS.get(each["reason"], "")
        yield f"  waits    {each['reason']} ({why}), due {each['due']}, delay number {each['waits']}"
    if standing.message in _MESSAGES:
        yield printable(f"  message  {_MESSAGES[standing.message].format(**known)}")
    for step in known["timeline"]:
        yield printable(f"  {step['at']}  {step['what']:<12}  {step['text']}")


def _after(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:,.0f} s after it was accepted"
