"""T22: commits of the ledger survive a power failure; more tests are in ``tests/conformance/ledger``."""

from contextlib import closing
from pathlib import Path

from handler.ledger import sqlite

FULL = 2


def test_a_commit_is_on_disk(tmp_path: Path) -> None:
    """The ledger uses WAL with ``synchronous=FULL``; SQLite documents that only this survives a power cut."""
    path = tmp_path / "ledger.db"
    with closing(sqlite._connect(path)) as connection:
        assert ("wal",) == connection.execute("PRAGMA journal_mode").fetchone()
        assert (FULL,) == connection.execute("PRAGMA synchronous").fetchone()
