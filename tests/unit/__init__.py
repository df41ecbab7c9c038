"""Claims that need no service."""
