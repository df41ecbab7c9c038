"""Sign-in to the API: one module for each method, and ``choose``, which selects by the settings."""
