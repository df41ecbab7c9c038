"""The operator's page and its HTTP API, served by ``snapshot-backup console``."""
