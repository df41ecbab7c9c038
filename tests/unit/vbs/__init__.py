"""Tests of the API client, its faults and its sign-in."""
