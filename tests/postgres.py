"""A private PostgreSQL server for tests, which runs the machine's installed programs."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from infra.local.server import free_ports
from tests.patience import patient

START_SECONDS = 30.0


def _program(name: str) -> str | None:
    """Return the path of a server program; distributions install them by version, outside PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)]))


def unprivileged() -> int | None:
    """Return the id of the user ``nobody`` if we are root, since the server refuses to run as root."""
    return 65534 if os.geteuid() == 0 else None


class Server:
    """A PostgreSQL cluster in its own folder, on a free loopback port, with ``fsync`` on."""

    def __init__(self, folder: Path, postgres: str, make: Sequence[str]) -> None:
        self._folder = folder
        self._postgres = postgres
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_ports(1)[0]
        if (user := unprivileged()) is not None:
            os.chown(folder, user, user)
        self._call([*make, "-D", str(folder / "data")])

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._postgres, *options, "-k", str(self._folder)],
                stdout=log,
                stderr=log,
                user=unprivileged(),
                group=unprivileged(),
            )
        deadline = time.monotonic() + patient(START_SECONDS)
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once, as in a crash, and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown; the next start recovers
            self._process.wait()
            self._process = None

    @property
    def runs(self) -> bool:
        """Whether the server has been started, and not stopped."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process of the running server that all its others are children of."""
        assert self._process is not None
        return self._process.pid

    def replica(self, folder: Path, name: str) -> "Server":
        """Make a streaming replica in another folder, not started yet."""
        return Server(folder, self._postgres, self._copy(name))

    def _copy(self, name: str) -> Sequence[str]:
        """Return the command that makes a replica, but for its folder."""
        source = f"host=127.0.0.1 port={self.port} user=tester application_name={name}"
        program = _program("pg_basebackup") or "pg_basebackup"  # of the same package as initdb
        return [program, "--checkpoint=fast", "-R", "-d", source]

    def follow(self, primary: "Server", name: str) -> None:
        """Become a streaming replica of another server, with nothing of what this one had, and start."""
        self.stop()
        shutil.rmtree(self._folder / "data")
        self._call([*primary._copy(name), "-D", str(self._folder / "data")])
        self.start()

    def become_standby(self) -> None:
        """Restart the server as a standby, which waits for a primary that there is not."""
        self.stop()
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        """Make a standby the primary, and wait for it. What it still replays could cancel a query."""
        self._call([_program("pg_ctl") or "pg_ctl", "promote", "-D", str(self._folder / "data")])

    def create(self, database: str, *, encoding: str = "UTF8") -> str:
        """Create an empty database, and return its URL."""
        make = psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}")
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(make.format(psycopg.sql.Identifier(database), encoding))
        return self.url(database)

    def emptied(self, database: str) -> str:
        """Return the URL of a database without tables, which one test after the other may use."""
        # To create one for each test, and to delete the files of all, took minutes on a busy machine.
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            self.create(database)
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url(database)

    def want_password(self, user: str) -> None:
        """Require a password from this user; other users need none."""
        rules = self._folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        loaded = self._rules_loaded_at()
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")
        while self._rules_loaded_at() == loaded:
            time.sleep(0.01)

    def _rules_loaded_at(self) -> object:
        """Return when the server read the rules for new connections."""
        with psycopg.connect(self.url()) as connection:
            return connection.execute("SELECT pg_conf_load_time()").fetchone()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def _call(self, command: Sequence[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, user=unprivileged(), group=unprivileged())


@contextmanager
def server() -> Iterator[Server]:
    """Run a server; if none is installed, skip the test, or fail it in CI."""
    postgres, initdb = _program("postgres"), _program("initdb")
    if postgres is None or initdb is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL's server programs are not installed")
        pytest.skip("PostgreSQL's server programs are not installed")
    folder = Path(tempfile.mkdtemp(prefix="snapshot-backup-postgres-"))
    try:
        make = [initdb, "-U", "tester", "-A", "trust", "--no-locale", "-E", "UTF8"]
        running = Server(folder, postgres, make)
        running.start()
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder)
