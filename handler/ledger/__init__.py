"""The ledger, the store of promises: claims, doubts, backups and failures; SQLite, PostgreSQL or memory."""
