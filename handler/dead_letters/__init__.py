"""Dead letters: list, filter, replay, export and drop the messages of ``Q.dead``."""
