"""``snapshot-backup doctor``: checks everything that a worker needs, and says how to fix what is wrong."""
