"""Twins: broker, API, clock and processes in memory that behave like the real ones; no mocks."""
