"""Tests of the dead-letters commands on a real broker."""
