"""HTTP transport of the API client: connections, time limits, bounded bodies."""
