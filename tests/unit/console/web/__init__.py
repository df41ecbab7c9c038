"""Tests of the operator's page and its API, without a broker."""
