"""Reasons: what the error texts of PostgreSQL's driver, of poolers and of SQLite mean, and what to do. Pure.

A pause of the worker must explain itself: the texts of the libraries name a symptom, and no action.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from handler.causes import Setting, cause_of
from handler.errors import LedgerUnavailable

SETTING = Setting("LEDGER_URL", "LEDGER_URL (sslrootcert)")


RUN_NEWER = "run a newer release, at least the release that wrote it; an older one must not write to it"
MAY_WRITE = "give the worker's user the right to write it, or set LEDGER_URL to another path"


class _Reason(NamedTuple):
    pattern: str
    text: str
    remedy: str


POSTGRES: Sequence[_Reason] = (
    # What a pooler says.
    _Reason(
        r"startup parameter|command-line options",
        "the connection pooler refuses a parameter of the session",
        "remove options= from LEDGER_URL, and PGOPTIONS from the environment, but for search_path and role, "
        "and set the others at the server: ALTER ROLE user SET name = value",
    ),
    _Reason(
        r"statement pooling",
        "the connection pooler allows no transactions, which the ledger needs",
        "set pool_mode = transaction for this database in pgbouncer.ini",
    ),
    _Reason(
        r"query_wait_timeout",
        "no connection to PostgreSQL was free",
        "RESUME the connection pooler if it is paused, or raise its default_pool_size",
    ),
    _Reason(
        r"\(max_\w*client_conn\w*\)",
        "the connection pooler takes no more clients",
        "raise this limit in pgbouncer.ini",
    ),
    _Reason(
        r"server_login_retry|server down|login rejected|cannot connect to server",
        "the connection pooler does not reach PostgreSQL",
        "start PostgreSQL, or correct the section [databases] of pgbouncer.ini",
    ),
    # What keeps silent.
    _Reason(
        r"no answer to COMMIT",
        "PostgreSQL does not confirm a commit",
        "start the synchronous standby, or take it out of synchronous_standby_names; without one, look for a "
        "stuck disk or a frozen machine",
    ),
    _Reason(
        r"no answer within .* at once",
        "PostgreSQL does not answer, does not confirm a commit, or no connection to it was free",
        "look for a stuck disk, a frozen machine or an overload; start the synchronous standby, or take it "
        "out of synchronous_standby_names; RESUME the connection pooler if it is paused, or raise its "
        "default_pool_size",
    ),
    _Reason(
        r"timeout expired",
        "PostgreSQL takes no connection in time",
        "LEDGER_URL: check host and port, routes and firewalls; look for a frozen machine or a stuck disk",
    ),
    _Reason(
        r"no answer within",
        "PostgreSQL does not answer, or no connection to it was free",
        "look for a stuck disk, a frozen machine or an overload; RESUME the connection pooler if it is "
        "paused, or raise its default_pool_size",
    ),
    # What PostgreSQL says; its texts may be translated, its codes are not.
    _Reason(
        r"^57P03|starting up|shutting down|not (?:yet )?accepting connections|in recovery mode",
        "PostgreSQL is starting or stopping",
        "nothing, if that ends within minutes; else look into its log",
    ),
    _Reason(
        r"^53300|too many clients|too many connections|connection slots",
        "PostgreSQL takes no more connections",
        "raise max_connections, end idle connections, or use a connection pooler",
    ),
    _Reason(
        r"^53100|No space left|disk full",
        "the disk of PostgreSQL is full",
        "free space on it; until then messages wait",
    ),
    _Reason(
        r"^55P03|^40P01|lock timeout|deadlock detected",
        "another transaction holds a lock on the ledger's rows",
        "end it if it stays: SELECT pid, state, query FROM pg_stat_activity shows it",
    ),
    _Reason(
        r"^57014|statement timeout",
        "PostgreSQL did not finish a statement within its time",
        "look for an overload or a slow disk of the server",
    ),
    _Reason(
        r"^25P03|idle[- ]in[- ]transaction",
        "this program stood still within a transaction, which PostgreSQL ended",
        "nothing, if it was suspended; else give it more CPU",
    ),
    _Reason(
        r"^58030|^XX00[12]|could not read block|could not fsync|invalid page",
        "PostgreSQL cannot read or write its files",
        "check its disk and its log; restore a copy if data is damaged",
    ),
    # What libpq and psycopg say of a connection that has ended, in whatever way.
    _Reason(
        r"^57P0|cannot exit pipeline mode|pipeline aborted|connection (?:is|was) (?:lost|closed|bad)"
        r"|closed the connection unexpectedly|terminating connection|could not (?:receive|send) data"
        r"|no connection to the server|lost synchronization|SSL connection has been closed|SSL SYSCALL"
        r"|SSL error|bad record mac|sending query failed|consuming input failed|Broken pipe|reset by peer",
        "the connection to PostgreSQL was lost",
        "nothing, if it was restarted or has failed over: the program connects again, to any host of "
        "LEDGER_URL; if it stays so, check that PostgreSQL runs, and what is between",
    ),
)
"""The first reason whose pattern matches ``CODE: text`` is used; then those of ``handler.causes`` count."""

SQLITE: Sequence[_Reason] = (
    _Reason(
        r"no answer of the disk",
        "the disk does not answer",
        "check the disk and the kernel's log (dmesg); the worker goes on by itself once the disk answers",
    ),
    _Reason(
        r"locked",
        "another program holds a lock on the file",
        "end that program, such as a shell with an open transaction; fuser FILE shows it",
    ),
    _Reason(
        r"disk I/O error|locking protocol|Input/output error|Stale file handle",
        "the disk fails, or its file system does not do what SQLite needs",
        "free space on the disk if it is full; else check it and the kernel's log (dmesg); use a local disk, "
        "no network file system",
    ),
    _Reason(
        r"malformed|not a database|unsupported file format",
        "the file is not a ledger, or is damaged",
        "correct the path in LEDGER_URL, or restore a copy",
    ),
    _Reason(
        r"no such (?:table|column|index)",
        "the file has not the tables of a ledger",
        "correct the path in LEDGER_URL, or restore a copy",
    ),
    _Reason(
        r"readonly|[Rr]ead-only|Permission denied",
        "the file cannot be written",
        MAY_WRITE,
    ),
    _Reason(
        r"full|No space left|quota exceeded",
        "the disk is full",
        "free space on its disk, or move the ledger and set LEDGER_URL; until then messages wait",
    ),
    _Reason(
        r"unable to open|Too many open files|No such file",
        "the file cannot be opened",
        "check that its folder exists, that the worker's user may write it, and the limit of open files",
    ),
    _Reason(
        r"out of memory|Cannot allocate",
        "there is no memory left",
        "give the program more memory, or end what takes it",
    ),
)


def of_postgres(text: str, code: str | None, *, password: str = "") -> LedgerUnavailable:
    """Return what to raise for an error of the driver; the password is not in it."""
    detail = " ".join(text.split())
    if password:
        detail = detail.replace(password, "***")
    if found := _first(POSTGRES, f"{code}: {detail}" if code else detail):
        return LedgerUnavailable(found.text, found.remedy, detail, SETTING.url)
    cause, remedy = cause_of(SETTING, detail) or ("PostgreSQL reports an error", "check LEDGER_URL")
    return LedgerUnavailable(cause, remedy, detail, SETTING.url)


def of_sqlite(text: str, place: str) -> LedgerUnavailable:
    """Return what to raise for an error of SQLite or the operating system; ``place`` is the file."""
    where = f"{SETTING.url}: {place}"
    if found := _first(SQLITE, text):
        return LedgerUnavailable(found.text, found.remedy, text, where)
    return LedgerUnavailable("the file cannot be used", "check LEDGER_URL and the disk", text, where)


def _first(reasons: Sequence[_Reason], text: str) -> _Reason | None:
    return next((reason for reason in reasons if re.search(reason.pattern, text)), None)
