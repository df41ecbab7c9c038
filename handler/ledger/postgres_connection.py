"""The ledger's connection to PostgreSQL, also by way of a connection pooler such as PgBouncer.

A pooler lends each transaction any connection to the server, and then lends that to another program. So the
ledger keeps nothing in the session: each transaction has its own settings, which end with it. It also relies
on nothing that another program may have left in the session.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from psycopg.rows import TupleRow
from typing_extensions import override

from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger.postgres_timeline import UNKNOWN, Timeline
from handler.ledger.reasons import of_postgres
from handler.loopback import is_loopback

RV = TypeVar("RV")

# psycopg warns of each pipeline that ends with a lost connection; the error itself is raised.
logging.getLogger("psycopg").setLevel(logging.ERROR)

DEFAULTS: dict[str, Any] = {
    "application_name": "snapshot-backup",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
    "target_session_attrs": "read-write",
}
"""Connection parameters that ``LEDGER_URL`` can replace. A lost peer is noticed within seconds, and only the
primary is connected to, also after a failover."""

ENCODING = {"client_encoding": "UTF8"}
"""A parameter that ``LEDGER_URL`` cannot replace. Without it, a database of encoding ``SQL_ASCII`` (as
``LANG=C`` makes them) returns text as bytes. All text that we write is ASCII, which every encoding holds."""

ANSWER_SECONDS = 9.0
"""How long the server may take for one answer. Its own limit, ``statement_timeout``, comes first; it does not
count while a pooler is paused or has no connection to give."""

_SETTINGS = """
SELECT set_config('search_path', %s, true), set_config('role', %s, true),
    set_config('lock_timeout', '2s', true),
    set_config('statement_timeout', '8s', true),
    -- A worker that is suspended within a transaction must not keep rows locked.
    set_config('idle_in_transaction_session_timeout', '10s', true),
    -- A commit must be on disk when it returns, and on a synchronous standby; other settings stay.
    set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
        THEN 'on' ELSE current_setting('synchronous_commit') END, true)
"""
"""Settings that end with the transaction. Behind a pooler, those of a session would reach other programs."""

_OPTION = re.compile(r"(?<!\S)(?:-c\s*|--)(?P<setting>(?:\\.|[^\s\\])+)")
_PLACE = frozenset({"search_path", "role"})
_SESSION = "SELECT current_setting('search_path'), current_setting('role')"

_READ_ONLY = re.compile("session is read-only|server is in hot standby mode")
_CANCEL_SECONDS = 1.0


class Place(NamedTuple):
    """Where a transaction finds the ledger's tables, and as whom it uses them."""

    search_path: str
    role: str


class Connection(psycopg.Connection[TupleRow]):
    """A connection that waits for each answer for ``ANSWER_SECONDS`` at most."""

    place = Place("", "none")
    reads_timeline = UNKNOWN
    """The expression that reads the timeline on this server."""
    timeline = Timeline()
    """The timeline that was found by the last transaction."""
    committing = False
    """Whether the next answers are those to a commit."""
    at_once = False
    """Whether a whole transaction was sent at once: then it is not known which answer is missing."""
    silent = False
    """Whether the server has not answered in time."""

    @override
    def wait(self, gen: Generator[Any, Any, RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            return super().wait(_limited(gen, ANSWER_SECONDS), interval, timeout)
        except TimeoutError:
            what = " to COMMIT" if self.committing and not self.at_once else ""
            more = " to a transaction that was sent at once" if self.at_once else ""
            self.silent = True
            self._end_commit()
            self.pgconn.finish()  # or the end of a pipeline would wait again
            raise psycopg.OperationalError(f"no answer{what} within {ANSWER_SECONDS:g} s{more}") from None

    def _end_commit(self) -> None:
        """Let the server end a commit that waits for a synchronous standby, which no timeout of its own ends.

        It would else keep its connection and its locks until the standby is back, one for each transaction.
        """
        if self.committing and psycopg.capabilities.has_cancel_safe():
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)

    def shut_down(self) -> None:
        """End whatever the connection waits for; called from another thread."""
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as own:
            own.shutdown(socket.SHUT_RDWR)


def _limited(gen: Generator[Any, Any, RV], seconds: float) -> Generator[Any, Any, RV]:
    """Run the generator of an operation. Raises ``TimeoutError`` if the server has not answered by then."""
    deadline = time.monotonic() + seconds
    ready = None
    try:
        while True:
            ready = yield gen.send(ready)
            if not ready and time.monotonic() > deadline:
                raise TimeoutError
    except StopIteration as end:
        result: RV = end.value
        return result


class Server:
    """The server that ``LEDGER_URL`` names, or the pooler before it."""

    def __init__(self, url: str) -> None:
        given = _parse(url)
        self._password = str(given.get("password") or "")
        self._place: dict[str, str] = {}
        if options := str(given.get("options") or os.environ.get("PGOPTIONS", "")):
            # If nothing is left, the empty text keeps libpq from reading PGOPTIONS.
            given["options"], self._place = _split(options)
        self._parameters = {**DEFAULTS, **given, **ENCODING}
        self._hosts = _Hosts(given)

    @property
    def longest(self) -> float:
        """How long a transaction may take that connects to the last of the hosts, in seconds."""
        given = str(self._parameters["connect_timeout"])
        each = int(given) if given.isdecimal() else 0
        return ANSWER_SECONDS + self._hosts.count * max(2.0, each)

    def connect(self) -> Connection:
        """Open a connection. Raises ``psycopg.Error``."""
        parameters = {**self._parameters, **self._hosts.in_order()}
        try:
            connection = self._open(make_conninfo("", **parameters))
        except psycopg.OperationalError as error:
            if not _READ_ONLY.search(str(error)):
                raise
            # A pooler may still say what was so before a failover; the server itself knows.
            connection = self._open(make_conninfo("", **{**parameters, "target_session_attrs": "any"}))
            if _is_read_only(connection):
                connection.close()
                raise
        self._hosts.begin_with(connection.info.host, connection.info.port)
        return connection

    def lost(self, connection: Connection) -> None:
        """Note that a connection has failed. If its server did not answer, other hosts are tried first."""
        if connection.silent:
            self._hosts.leave()

    def _open(self, conninfo: str) -> Connection:
        # No prepared statements: they stay in a connection that the next transaction may not get.
        return Connection.connect(conninfo, autocommit=True, prepare_threshold=None)

    def find_place(self, connection: Connection) -> None:
        """Ask, in a transaction, where this user's tables are; ``LEDGER_URL`` may name another place."""
        # What another program has left in the session does not count.
        with connection.pipeline():
            connection.execute("SET LOCAL search_path TO DEFAULT")
            connection.execute("SET LOCAL role TO DEFAULT")
            session = connection.execute(_SESSION)
        connection.place = Place(*session.fetchall()[0])._replace(**self._place)

    def unavailable(self, error: psycopg.Error) -> LedgerUnavailable:
        """Return what to raise for an error: one line that names the setting, without its password."""
        return of_postgres(str(error) or type(error).__name__, error.sqlstate, password=self._password)


class _Hosts:
    """The hosts of ``LEDGER_URL``, in the order in which they are tried: the one that answered last is first.

    A server that hangs takes connections and does not answer: each try would wait for ``connect_timeout``.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        lists = {name: str(given[name]).split(",") for name in ("host", "hostaddr", "port") if name in given}
        self.count = max(map(len, lists.values()), default=1)
        # One port may stand for all hosts.
        self._lists = {
            name: values * self.count if len(values) == 1 else values for name, values in lists.items()
        }
        self._first = 0

    def in_order(self) -> dict[str, str]:
        """Return the connection parameters, rotated."""
        first = self._first
        return {name: ",".join(values[first:] + values[:first]) for name, values in self._lists.items()}

    def begin_with(self, host: str, port: int) -> None:
        """Begin with the host that has answered."""
        names = self._lists.get("host") or self._lists.get("hostaddr") or [host]
        ports = self._lists.get("port") or [""] * self.count
        wanted = [
            each for each in range(self.count) if names[each] == host and ports[each] in ("", str(port))
        ]
        self._first = wanted[0] if wanted else self._first

    def leave(self) -> None:
        """Begin with the host after the one that was used."""
        self._first = (self._first + 1) % self.count


def begin(connection: Connection) -> None:
    """Begin a transaction in a pipeline, with its settings; both go with the first statements."""
    # psycopg's own BEGIN and COMMIT would each take one more round trip. The last of these comes after the
    # transaction: PgBouncer 1.18 then sometimes kept the server connection for us until the next one.
    connection.committing = connection.at_once = False
    connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    apply_settings(connection)


def commit(connection: Connection) -> None:
    """Commit the transaction in a pipeline, with the last statements."""
    connection.committing = True
    connection.execute("COMMIT")


def apply_settings(connection: Connection) -> None:
    """Give an open transaction its settings."""
    connection.execute(_SETTINGS, connection.place)


def unverified_hosts(url: str) -> list[str]:
    """Return the hosts of ``LEDGER_URL`` on other machines whose certificate libpq would not verify."""
    given = _parse(url)

    def value(name: str) -> str:
        return str(given.get(name) or os.environ.get(f"PG{name.upper()}") or "")

    # libpq refuses other modes where the authorities are the system's.
    if value("sslmode") == "verify-full" or value("sslrootcert") == "system":
        return []
    hosts = (value("hostaddr") or value("host")).split(",")
    # No host, a path and an @ are sockets of this machine.
    return [host for host in hosts if host and host[0] not in "/@" and not is_loopback(host)]


def _parse(url: str) -> dict[str, Any]:
    try:
        return conninfo_to_dict(url)
    except psycopg.Error:
        # psycopg's text quotes the whole URL with its password.
        raise SettingsError(
            f"LEDGER_URL: {_unread(url)}, such as LEDGER_URL=postgresql://user:password@host:5432/database"
        ) from None


def _unread(url: str) -> str:
    """Return why libpq cannot read a URL: mostly a parameter of others, such as asyncpg's ``ssl``."""
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    names = [name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)]
    unknown = [name for name in names if name not in known and name.isidentifier()]
    if unknown:
        return f"has the parameter {unknown[0]}, which is none of PostgreSQL's; TLS is sslmode=require"
    return "is a URL that PostgreSQL's library cannot read"


def _split(options: str) -> tuple[str, dict[str, str]]:
    """Take search path and role out of ``options``: poolers refuse them there, or ignore them silently."""
    place: dict[str, str] = {}

    def taken(option: re.Match[str]) -> str:
        name, _, value = re.sub(r"\\(.)", r"\1", option["setting"]).partition("=")
        name = name.replace("-", "_").lower()
        if name not in _PLACE:
            return option[0]
        place[name] = value
        return ""

    return _OPTION.sub(taken, options).strip(), place


def _is_read_only(connection: Connection) -> bool:
    """Ask the server itself. Without an answer it cannot be written either."""
    try:
        return connection.execute("SHOW transaction_read_only").fetchone() != ("off",)
    except psycopg.Error:
        return True
