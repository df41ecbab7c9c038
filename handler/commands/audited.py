"""Acts by commands, written to the audit journal beside those by the operator's page."""

import os
import pwd
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from handler.commands.common import warn
from handler.console.audit import Audit, Done
from handler.console.ledger_access import LedgerAccess
from handler.errors import ExtraMissing, LedgerUnavailable, SettingsError
from handler.ledger.ledger import StoredLedger
from handler.settings import Settings

_MISSED = "the audit journal does not have this act: {}"


@asynccontextmanager
async def audited(ledger: StoredLedger, queue: str, what: str, about: str) -> AsyncIterator[Done]:
    """Record an act in an opened ledger. Where it cannot be written, the act goes on, and a line says so."""
    audit = Audit(lambda: ledger, queue)
    try:
        async with audit.act(who(), what, about) as done:
            yield done
    finally:
        if audit.problem:
            warn(_MISSED.format(audit.problem))


@asynccontextmanager
async def audited_if_known(settings: Settings, what: str, about: str) -> AsyncIterator[Done]:
    """Record an act that needs no ledger; without a ledger on this machine nothing is recorded."""
    if (ledger := _opened(settings)) is None:
        yield Done()
        return
    try:
        async with audited(ledger, settings.snapshot_queue, what, about) as done:
            yield done
    finally:
        await ledger.aclose()


def _opened(settings: Settings) -> StoredLedger | None:
    try:
        return LedgerAccess(settings).open()
    except LedgerUnavailable:  # LEDGER_URL is none, or a file of another machine
        return None
    except (ExtraMissing, SettingsError) as error:
        warn(_MISSED.format(error))
        return None


def who() -> str:
    """Return who runs this command: the user, who may have become another one by sudo, and the machine."""
    return f"{os.environ.get('SUDO_USER') or _user()}@{socket.gethostname()} at the command line"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return f"user {os.getuid()}"
