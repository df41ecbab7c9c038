"""Telemetry: counters, logs and traces."""
