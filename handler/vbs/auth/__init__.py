"""Sign-in to the API: one module for each way, and ``choose``, which takes the one that is set."""
