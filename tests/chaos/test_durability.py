"""T22: what the ledger has promised outlives the power cord. The rest of it is in the ledger's own suite."""

from contextlib import closing
from pathlib import Path

from handler.ledger import sqlite

FULL = 2


def test_a_commit_is_on_disk(tmp_path: Path) -> None:
    """SQLite's own words: with WAL only ``synchronous=FULL`` survives a power cut."""
    path = tmp_path / "ledger.db"
    with closing(sqlite._connect(path)) as connection:
        assert ("wal",) == connection.execute("PRAGMA journal_mode").fetchone()
        assert (FULL,) == connection.execute("PRAGMA synchronous").fetchone()
