"""Tombstones: what the ledger keeps of a snapshot that was pruned, so that no second backup is made of it.

A tombstone is a hash of the snapshot's key, and nothing else: some 20 bytes in SQLite and 70 in PostgreSQL,
for good. An event about such a snapshot is looked up at the API before a request is sent, like one whose
earlier request may have left. Two keys with the same hash would cost a lookup, and nothing else.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from handler.backup.ports import Key
from handler.ledger.row import Row

PRUNED: Final = Row(sent=True)
"""The row of a snapshot that has only a tombstone, or may have been lost: a request may have left."""

SQLITE: Final[Sequence[str]] = ("CREATE TABLE ledger_tombstone (id INTEGER PRIMARY KEY)",)
POSTGRES: Final[Sequence[str]] = ("CREATE TABLE snapshot_backup_tombstone (id bigint PRIMARY KEY)",)
"""The migrations."""


def tombstone(key: Key) -> int:
    """Return the tombstone of a key: a signed number of 64 bits."""
    text = f"{key.project_id}\n{key.snapshot_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)
