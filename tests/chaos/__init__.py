"""Everything that may break, broken: crash sweeps, a model, real processes killed, planted bugs."""
