"""Ledgers of the unit tests."""

import sqlite3
from pathlib import Path

import pytest

from handler.ledger import sqlite


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite ledgers that do not wait for the disk."""
    opened = sqlite._connect

    def connect(path: Path) -> sqlite3.Connection:
        connection = opened(path)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    monkeypatch.setattr(sqlite, "_connect", connect)
