"""Tests of the console as a process, on a real broker."""
