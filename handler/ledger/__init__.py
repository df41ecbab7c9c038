"""The ledger: which backups were claimed, requested and made; SQLite, PostgreSQL, or memory."""
