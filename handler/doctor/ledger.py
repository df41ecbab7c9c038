"""Checks of the ledger: connection, schema, writability, and the disk of an SQLite file."""

from collections.abc import AsyncIterator, Iterator

from handler.addresses import database_url
from handler.backup.running import MAX_RUNNING, limit_of
from handler.backup.workers import Workers
from handler.doctor.control import examine_control, reasons
from handler.doctor.disk import Disk, disk_of, in_time
from handler.doctor.findings import Finding
from handler.doctor.workers import WAITING, count_workers, other_queues_finding, workers_finding
from handler.errors import LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from handler.ledger.room import LONG_SECONDS, Running, RunningSummary
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import Settings
from handler.telemetry.outcome_log import CONFIRM_TIMEOUT

# fmt: off
NETWORK = frozenset({
    "9p", "afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs",
})
# fmt: on
TEMPORARY = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that lose their files when the machine or the container restarts."""

WARN_FREE = 200 * 1024**2
_MESSAGES = "waiting messages"
_OVERDUE_SECONDS = 120.0
_BACKLOG_SECONDS = 3600.0
"""How long a message may stand in the queue behind others, after it came back."""
_SHOWN = 3
BAD_FREE = 20 * 1024**2
"""Free bytes; the write-ahead log beside the file needs some MB."""


async def examine_ledger(settings: Settings) -> AsyncIterator[Finding]:
    """Check the ledger that ``LEDGER_URL`` names; a missing SQLite file is not created."""
    url = settings.ledger_url.get_secret_value()
    if url.startswith("none"):
        text = (
            "none: each create is preceded by a lookup; two workers at once may both make a backup, and a "
            "waiting message that the broker loses is not taken up again, nor is it known which are overdue "
            "and which workers run"
        )
        yield Finding(
            "ledger",
            "LEDGER_URL",
            "warning",
            text,
            "set LEDGER_URL, such as sqlite:///snapshot-backup.db or postgresql://…",
        )
        return
    if not url.startswith("sqlite:"):
        for finding in tls_findings(url):
            yield finding
        async for finding in _check_ledger(settings, database_url(url).hosts or "database"):
            yield finding
        return
    path = sqlite_path(url).absolute()
    disk = await in_time(lambda: disk_of(path.parent))
    for finding in disk_findings(disk):
        yield finding
    if not disk.exists:
        return
    if await in_time(path.exists):
        async for finding in _check_ledger(settings, str(path)):
            yield finding
    elif disk.writable:
        yield Finding("ledger", str(path), "ok", "does not exist yet; a worker creates it at start")
    else:
        text = "does not exist, and this user may not create it"
        yield Finding("ledger", str(path), "bad", text, _remedy_of_rights(disk))


def tls_findings(url: str) -> Iterator[Finding]:
    """Yield a warning if ``LEDGER_URL`` names a server on another machine without verifying which it is."""
    # Imported where it is used: only PostgreSQL needs the driver.
    from handler.ledger.postgres_connection import unverified_hosts

    hosts = ", ".join(unverified_hosts(url))
    if hosts:
        text = f"nothing verifies that {hosts} is the server; another one could take its place"
        remedy = "LEDGER_URL: add sslmode=verify-full&sslrootcert=/path/to/ca.pem, the server's authority"
        yield Finding("ledger", "LEDGER_URL", "warning", text, remedy)


async def _check_ledger(settings: Settings, what: str) -> AsyncIterator[Finding]:
    ledger = open_ledger(settings.ledger_url.get_secret_value(), lease_seconds=settings.lease_seconds)
    try:
        await ledger.check()
    except LedgerUnavailable as error:
        text, remedy = _explain(error)
        yield Finding("ledger", what, "bad", text, remedy)
    else:
        yield Finding("ledger", what, "ok", "can be read and written; the schema is current")
        workers = await ledger.workers(settings.snapshot_queue)
        yield workers_finding(workers)
        if workers.other_queues:
            yield other_queues_finding(workers)
        yield await _waiting(ledger, settings, workers)
        async for finding in examine_control(ledger, settings.snapshot_queue):
            yield finding
        if settings.max_running is not None:
            yield running_finding(await ledger.running(), settings.max_running)
    finally:
        await ledger.aclose()


async def _waiting(ledger: StoredLedger, settings: Settings, workers: Workers) -> Finding:
    """Check that what waits comes back, and that each snapshot without an outcome has a message."""
    longest = settings.wait_ladder[-1] + _BACKLOG_SECONDS
    found = await ledger.waiting(overdue=_OVERDUE_SECONDS, longest=longest)
    if found.stranded and settings.track_backups:
        text = (
            f"{len(found.stranded)} snapshots have no outcome, and no message that waits for one: "
            f"{', '.join(key.snapshot_id for key in found.stranded[:_SHOWN])}, …; an earlier release lost "
            "them, or TRACK_BACKUPS was false"
        )
        remedy = "publish their events again (snapshot-backup publish): what was made is not made again"
        return Finding("ledger", _MESSAGES, "warning", text, remedy)
    if found.overdue:
        text = (
            f"{found.overdue} of {found.total} have been due for over {_OVERDUE_SECONDS / 60:.0f} minutes; "
            f"{_why_overdue(workers)}; all wait for: {await reasons(ledger)}"
        )
        who = "a worker publishes" if workers.alive else "start a worker, which publishes"
        remedy = f"{who} them again; check queues and policies of the broker; in a cluster, {CONFIRM_TIMEOUT}"
        return Finding("ledger", _MESSAGES, "warning", text, remedy)
    why = await reasons(ledger) if found.total else ""
    text = f"{found.total} are recorded, none is overdue" + (f": {why}" if why else "")
    return Finding("ledger", _MESSAGES, "ok", text)


def _why_overdue(workers: Workers) -> str:
    """Return the possible reasons. A worker that cannot consume publishes nothing again."""
    alive = workers.alive
    if not alive:
        return "no worker reports to the ledger; or the broker lost them or holds them back"
    if waiting := [each for each in alive if each.state.startswith(WAITING)]:
        return f"{len(waiting)} of {count_workers(len(alive))} {waiting[0].state}"
    return "the broker lost them or holds them back, or they stand in a long queue"


def running_finding(found: RunningSummary, most: int) -> Finding:
    """Compare the backups in progress with ``MAX_RUNNING``, for the cloud that has most of them."""
    clouds = [each for group, each in found.groups.items() if limit_of(group) == MAX_RUNNING]
    running, long = max(clouds, default=Running(0, 0))
    text = f"{running} of {most} backups are in progress, and {found.waiting} messages wait for room"
    if long > most:
        text = (
            f"{long} backups are in progress for over {LONG_SECONDS / 60:.0f} minutes, the limit is {most}; "
            f"{found.waiting} messages wait for room until they end"
        )
        remedy = "raise MAX_RUNNING, or wait; each worker of the queue needs the same MAX_RUNNING"
        return Finding("ledger", MAX_RUNNING, "warning", text, remedy)
    if long == most and found.waiting:
        remedy = "check that the cloud finishes its backups; raise MAX_RUNNING if it can make more at once"
        text = f"{text}; all of them are in progress for over {LONG_SECONDS / 60:.0f} minutes"
        return Finding("ledger", MAX_RUNNING, "warning", text, remedy)
    return Finding("ledger", MAX_RUNNING, "ok", text)


def _explain(error: LedgerUnavailable) -> tuple[str, str]:
    """Return what is wrong, with the file and the library's own text, and what to change."""
    text = f"{error.place}: {error.reason}".removeprefix(": ").removeprefix("LEDGER_URL: ")
    return (f"{text} ({error.detail})" if error.detail else text), error.remedy or "check LEDGER_URL"


def disk_findings(disk: Disk) -> Iterator[Finding]:
    """Yield findings on the disk where the ledger file is, or will be."""
    what = f"disk of {disk.folder}"
    if not disk.exists:
        remedy = "create the folder, writable for the worker's user, or set LEDGER_URL to another path"
        yield Finding("ledger", f"folder {disk.folder}", "bad", "does not exist", remedy)
        return
    if disk.kind in NETWORK:
        text = f"{disk.kind} is a network file system, on which SQLite's write-ahead log does not work"
        remedy = "LEDGER_URL: use a local disk, or postgresql:// if several machines share the ledger"
        yield Finding("ledger", what, "bad", text, remedy)
    elif disk.kind in TEMPORARY:
        text = f"{disk.kind}: its files are lost when the machine or the container restarts"
        remedy = "LEDGER_URL: use a persistent disk or volume; a lost ledger can cause second backups"
        yield Finding("ledger", what, "warning", text, remedy)
    yield _free_space(what, disk.free)


def _free_space(what: str, free: int) -> Finding:
    text = f"{free / 1024**2:,.0f} MB free"
    remedy = "free space on this disk, or move the ledger and set LEDGER_URL"
    if free < BAD_FREE:
        return Finding("ledger", what, "bad", f"{text}: the ledger cannot grow, and messages wait", remedy)
    if free < WARN_FREE:
        return Finding("ledger", what, "warning", text, remedy)
    return Finding("ledger", what, "ok", text)


def _remedy_of_rights(disk: Disk) -> str:
    return f"give the worker's user the right to write {disk.folder}, or set LEDGER_URL to another path"
