"""A primary PostgreSQL and its streaming replica for tests, which can hang, die and fail over."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests import postgres
from tests.patience import patient
from tests.postgres import Server

REPLICA = "replica"
"""The replica's name in ``synchronous_standby_names``."""


def family(pid: int) -> list[int]:
    """Return a process and its children: the postmaster and all processes of its server."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--pid", str(pid), "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in listed.stdout.split()]


def hang(server: Server) -> None:
    """Let every process of a server stand still; its kernel still takes connections and bytes."""
    for _ in range(2):  # a process that was started meanwhile too
        for pid in family(server.pid):
            os.kill(pid, signal.SIGSTOP)


def go_on(server: Server) -> None:
    """Let a server that hangs go on."""
    for pid in family(server.pid) if server.runs else ():
        os.kill(pid, signal.SIGCONT)


class Pair:
    """Two servers; ``url`` names both, as an operator does."""

    def __init__(self, primary: Server, replica: Server) -> None:
        self.primary = primary
        self.replica = replica

    @property
    def url(self) -> str:
        """The URL with both hosts."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.replica.port}"
        return f"postgresql://tester@{hosts}/postgres"

    def be_synchronous(self) -> None:
        """Let each commit wait for the replica."""
        self._set(f"synchronous_standby_names = '{REPLICA}'")
        self._wait_for("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")

    def cut(self) -> None:
        """Let the replica get nothing more from the primary, not even what is on its way."""
        with psycopg.connect(self.replica.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
        self._wait_for("SELECT (count(*) = 0)::integer FROM pg_stat_replication")

    def wait_until_replayed(self) -> None:
        """Wait until the replica has all that the primary has committed."""
        self._wait_for("SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()")

    def restore(self) -> None:
        """Let both servers go on, asynchronously."""
        go_on(self.replica)
        go_on(self.primary)
        self._set("synchronous_standby_names = ''")
        self.wait_until_streaming()

    def wait_until_streaming(self) -> None:
        """Wait until the replica follows the primary."""
        self._wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")

    def _set(self, setting: str) -> None:
        with psycopg.connect(self.primary.url(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")

    def _wait_for(self, query: str) -> None:
        deadline = time.monotonic() + patient(postgres.START_SECONDS)
        with psycopg.connect(self.primary.url(), autocommit=True) as connection:
            while connection.execute(query.encode()).fetchone() != (1,):
                assert time.monotonic() < deadline, query
                time.sleep(0.05)


@contextmanager
def pair() -> Iterator[Pair]:
    """Run a primary and its replica, asynchronous at first."""
    with postgres.server() as primary:
        folder = Path(tempfile.mkdtemp(prefix="snapshot-backup-replica-"))
        try:
            replica = primary.replica(folder, REPLICA)
            replica.start()
            both = Pair(primary, replica)
            both.wait_until_streaming()
            try:
                yield both
            finally:
                replica.stop()
                go_on(primary)  # one that hangs would not end
        finally:
            shutil.rmtree(folder)
