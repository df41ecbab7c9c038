"""Claims about the programs as they run, on a real broker."""
