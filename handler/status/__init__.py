"""The pages of ``HTTP_ADDRESS``: health, readiness, metrics."""
