"""The operator's commands against a real broker."""
