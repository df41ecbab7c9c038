"""Dead letters: see them, choose, send them back, keep them in a file, throw them away."""
