"""Suggestions for what was mistyped: "did you mean …?"."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST = 3


_LIKE = 0.65
"""How alike two words are where one may be meant by the other: 0.6 takes ``reason`` for ``json``."""


def did_you_mean(word: str, possible: Iterable[str]) -> str:
    """Return a question that names the words most like this one, or nothing if none is like it."""
    spelled = {_folded(each): each for each in possible}
    close = get_close_matches(_folded(word), spelled, n=_MOST, cutoff=_LIKE)
    return question(spelled[each] for each in close)


def question(meant: Iterable[str]) -> str:
    """Return a question that names these words, after a space, or nothing if there are none."""
    words = list(meant)
    return f" Did you mean {' or '.join(words)}?" if words else ""


def _folded(word: str) -> str:
    """Return a word without what is easily confused: case, underscores for dashes, and an option's dashes."""
    return word.casefold().replace("_", "-").lstrip("-")
