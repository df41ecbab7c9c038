"""The promise book: what was intended, what was made, how it ended."""
