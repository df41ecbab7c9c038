"""Text from outside, made safe for a terminal and for lines of a log.

Some characters steer a terminal (ESC, and U+009B which is ESC and a bracket in one), start a new line for
programs that read lines (U+0085, U+2028), show text in another order than it has (U+202E), or cannot be
written at all (lone surrogates).
"""

import unicodedata
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, formats, surrogates, and separators of lines and paragraphs."""

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Formats without which some scripts cannot be written."""


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with each unsafe character replaced, but for those in ``keep``, such as line ends."""
    if text.isprintable():
        return text
    return "".join(char if _is_safe(char) or char in keep else REPLACEMENT for char in text)


def _is_safe(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) not in _UNSAFE
