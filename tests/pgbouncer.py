"""A private PgBouncer for tests, between the ledger and a PostgreSQL server."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from infra.local.server import free_ports
from tests.patience import patient
from tests.postgres import unprivileged

START_SECONDS = 30.0
TRANSACTION: Mapping[str, object] = {"pool_mode": "transaction"}


class Pooler:
    """A PgBouncer in its own folder, on a free loopback port, with every database of the server."""

    def __init__(self, folder: Path, program: str, server_port: int, options: Mapping[str, object]) -> None:
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_ports(1)[0]
        self._options = options
        (folder / "users.txt").write_text('"tester" ""\n"stranger" ""\n')
        self._write(server_port, options)

    def _write(self, server_port: int, options: Mapping[str, object]) -> None:
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self._folder / "users.txt",
            "admin_users": "tester",
            "server_login_retry": 1,
            **options,
        }
        text = "\n".join(f"{name} = {value}" for name, value in lines.items())
        servers = f"* = host=127.0.0.1 port={server_port}"
        (self._folder / "pgbouncer.ini").write_text(f"[databases]\n{servers}\n[pgbouncer]\n{text}\n")

    def url(self, behind: str) -> str:
        """Return the URL of a database, given its URL at the server, by way of this pooler."""
        return urlsplit(behind)._replace(netloc=f"tester@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Start the pooler, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self._folder / "pgbouncer.ini")],
                stdout=log,
                stderr=log,
                user=unprivileged(),
                group=unprivileged(),
            )
        deadline = time.monotonic() + patient(START_SECONDS)
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"PgBouncer did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the pooler at once, with every connection through it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lead_to(self, server_port: int) -> None:
        """Lead new connections to another server; those to clients stay."""
        self._write(server_port, self._options)
        self.command("RELOAD")

    def command(self, text: str) -> list[tuple[object, ...]]:
        """Run a command of its console, such as ``PAUSE``; return the rows that it shows."""
        # Its console has the simple protocol only, which is that of a client-side cursor.
        with psycopg.connect(
            self._console(), autocommit=True, cursor_factory=psycopg.ClientCursor
        ) as console:
            cursor = console.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def _console(self) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/pgbouncer"

    def _answers(self) -> bool:
        try:
            self.command("SHOW VERSION")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def pooler(server_port: int, options: Mapping[str, object] = TRANSACTION) -> Iterator[Pooler]:
    """Run a pooler; if none is installed, skip the test, or fail it in CI."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("pgbouncer is not installed")
        pytest.skip("pgbouncer is not installed")
    folder = Path(tempfile.mkdtemp(prefix="snapshot-backup-pgbouncer-"))
    try:
        running = Pooler(folder, program, server_port, options)
        if (user := unprivileged()) is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user, user)
        try:
            running.start()
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder)
