"""HTTP under the API client: connections, time limits, bodies within bounds."""
