"""The language of the bus: what comes in, what goes out. Pure; imports nothing else of the project."""
