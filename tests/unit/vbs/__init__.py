"""The API client, its faults and its sign-in."""
