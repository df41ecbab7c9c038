"""Telemetry: counters, logs and traces of the work that the other rooms do."""
