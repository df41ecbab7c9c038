"""Where snapshots stand and what waits, for the operator."""
