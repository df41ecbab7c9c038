"""``snapshot-backup dead-letters``, one module for each command."""
