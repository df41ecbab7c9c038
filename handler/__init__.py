"""The function itself: from a message to a backup and its outcome."""
