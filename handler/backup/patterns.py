r"""Patterns of names: ``*`` is any text, ``?`` is any one character, everything else is itself.

A bracket is a bracket: Cinder's own names begin with one. ``\`` before a character takes it as it is, as in
``\*``. Case counts on every platform; the two ways in which Unicode writes a letter with an accent do not.
"""

import re
import unicodedata
from collections.abc import Iterator
from fnmatch import translate
from functools import lru_cache

_MOST_PATTERNS = 1024
_SPECIAL = "*?["
"""What means something to fnmatch; a bracket never does here."""


def matches(name: str, pattern: str) -> bool:
    """Return whether the whole of a name fits a pattern."""
    return _expression(pattern).match(_composed(name)) is not None


@lru_cache(_MOST_PATTERNS)
def _expression(pattern: str) -> re.Pattern[str]:
    # fnmatch's expressions take no long time on any name; its brackets are sets of characters.
    return re.compile(translate("".join(_literals(_composed(pattern)))))


def _literals(pattern: str) -> Iterator[str]:
    """Yield the pattern in fnmatch's terms: there a character that is only itself can be in brackets."""
    characters = iter(pattern)
    for char in characters:
        literal = next(characters, char) if char == "\\" else char
        yield f"[{literal}]" if literal in _SPECIAL and char in "\\[" else literal


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
