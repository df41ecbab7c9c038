"""The ledger: reachable, its schema, writable, on a disk that will hold it."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

from handler.doctor.causes import Setting, explain
from handler.doctor.disk import Disk, disk_of, in_time
from handler.doctor.findings import Finding
from handler.errors import LedgerUnavailable
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import Settings

_SETTING = Setting("LEDGER_URL", "LEDGER_URL (sslrootcert)")

# fmt: off
NETWORK = frozenset({
    "9p", "afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs",
})
# fmt: on
TEMPORARY = frozenset({"tmpfs", "ramfs", "overlay"})
"""Gone with the machine's next start, or with the container."""

WARN_FREE = 200 * 1024**2
BAD_FREE = 20 * 1024**2
"""Bytes; a write-ahead log of some MB stands beside the file."""


async def examine_ledger(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the ledger that ``LEDGER_URL`` names; one that is not there yet is not made."""
    url = settings.ledger_url.get_secret_value()
    if url.startswith("none"):
        text = "none: the API is asked before each create; two workers at once may both make a backup"
        yield Finding("ledger", "LEDGER_URL", "warning", text, "LEDGER_URL=sqlite:///FILE or postgresql://…")
        return
    if not url.startswith("sqlite:"):
        yield await _check_ledger(settings, str(urlsplit(url).hostname or "database"))
        return
    path = sqlite_path(url).absolute()
    disk = await in_time(lambda: disk_of(path.parent))
    for finding in disk_findings(disk):
        yield finding
    if not disk.exists:
        return
    if await in_time(path.exists):
        yield await _check_ledger(settings, str(path))
    elif disk.writable:
        yield Finding("ledger", str(path), "ok", "not there yet: a worker makes it at start")
    else:
        text = "not there, and this user may not make it"
        yield Finding("ledger", str(path), "bad", text, _remedy_of_rights(disk))


async def _check_ledger(settings: Settings, what: str) -> Finding:
    ledger = open_ledger(settings.ledger_url.get_secret_value(), lease_seconds=settings.lease_seconds)
    try:
        await ledger.check()
    except LedgerUnavailable as error:
        text, remedy = _explain(str(error))
        return Finding("ledger", what, "bad", text, remedy)
    finally:
        await ledger.aclose()
    return Finding("ledger", what, "ok", "read and written, its schema is this program's")


def _explain(problem: str) -> tuple[str, str]:
    text = problem.removeprefix("LEDGER_URL: ")
    if "run a newer release" in text:
        return text, "run at least the release that wrote it; an older one must not touch it"
    if "full" in text:
        return text, "free space on its disk, or move it and set LEDGER_URL; messages wait meanwhile"
    if "cannot be written" in text or "readonly" in text:
        return text, "give the user who runs this the right to write it, or set LEDGER_URL elsewhere"
    if "malformed" in text or "not a database" in text:
        return text, "LEDGER_URL: it names no ledger, or a damaged one: restore it from a copy"
    if "locked" in text:
        return text, "another program holds the file: end it"
    return explain(_SETTING, text)


def disk_findings(disk: Disk) -> Iterator[Finding]:
    """Judge where the file is, or is to be."""
    what = f"disk of {disk.folder}"
    if not disk.exists:
        remedy = "make it, writable for the user of the worker, or set LEDGER_URL elsewhere"
        yield Finding("ledger", f"folder {disk.folder}", "bad", "does not exist", remedy)
        return
    if disk.kind in NETWORK:
        text = f"{disk.kind} is a network file system: SQLite's log does not work over a network"
        remedy = "LEDGER_URL: a local disk, or postgresql:// where several machines share the ledger"
        yield Finding("ledger", what, "bad", text, remedy)
    elif disk.kind in TEMPORARY:
        text = (
            f"{disk.kind}: what is written there is gone with the machine's, or the container's, next start"
        )
        remedy = "LEDGER_URL: a folder on a disk or volume that stays; a lost ledger can cost second backups"
        yield Finding("ledger", what, "warning", text, remedy)
    yield _free_space(what, disk.free)


def _free_space(what: str, free: int) -> Finding:
    text = f"{free / 1024**2:,.0f} MB free"
    remedy = "free space there, or move the ledger and set LEDGER_URL"
    if free < BAD_FREE:
        return Finding("ledger", what, "bad", f"{text}: the ledger cannot grow and messages wait", remedy)
    if free < WARN_FREE:
        return Finding("ledger", what, "warning", text, remedy)
    return Finding("ledger", what, "ok", text)


def _remedy_of_rights(disk: Disk) -> str:
    return f"give the user who runs this the right to write {disk.folder}, or set LEDGER_URL elsewhere"
