"""Fault-injection tests: crash sweeps, a state-machine model, killed processes and planted bugs."""
