"""Readers of foreign forms: one module for each platform that reports snapshots."""
