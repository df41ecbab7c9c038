"""Tests of the whole project, and the helpers they share."""
