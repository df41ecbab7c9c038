"""A cloud: its endpoints, found by settings or by the catalogue of its token."""
