"""The texts of settings: cleaned, and parsed into numbers, booleans, words and lists.

A text that cannot be parsed is a ``ValueError``, whose text says what the setting must be. It never shows the
text itself, which may be a misplaced secret.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_INVISIBLE = "\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}\0"
"""Characters besides spaces that editors and copying leave at the ends; the third is the byte order mark."""

_QUOTES = ('"', "'")
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})

YEARS_100: Final = 3_155_760_000
"""Seconds: the longest time that a setting can have."""


def clean(text: str) -> str:
    """Return a setting's text as it was meant: without spaces at its ends, and without one pair of quotes.

    Files end in a newline, editors add a byte order mark, and ``docker --env-file`` keeps quotes. A value
    that begins and ends with a quote of its own is written with two: ``""x""``.
    """
    text = trimmed(text)
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return text[1:-1]
    return text


def trimmed(text: str) -> str:
    """Return the text without spaces, line ends and invisible characters at both ends."""
    while (shorter := text.strip().strip(_INVISIBLE)) != text:
        text = shorter
    return text


def whole(least: int, most: int) -> Callable[[object], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(value: object) -> int:
        number = _whole(value)
        if number is None or not least <= number <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, in digits")
        return number

    return parse


def decimal(least: float, most: float, unit: str) -> Callable[[object], float]:
    """Return a parser of numbers of a unit within bounds; ``unit`` is the word for the error."""

    def parse(value: object) -> float:
        number = _decimal(value)
        if number is None or not least <= number <= most:
            raise ValueError(
                f"must be {unit}, from {least:g} to {most:.10g}, in digits and without a letter for the unit"
            )
        return number

    return parse


def flag(value: object) -> bool:
    """Parse a boolean in any of its usual spellings."""
    if isinstance(value, bool):
        return value
    word = trimmed(str(value)).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be true or false (yes, no, on, off, 1 and 0 are the same)")
    return word in _TRUE


def choice(*words: str, also: Mapping[str, str] | None = None) -> Callable[[object], str]:
    """Return a parser of a choice of words, in any case; ``also`` maps other spellings to them."""
    known = {word.lower(): word for word in words} | dict(also or {})

    def parse(value: object) -> str:
        found = known.get(trimmed(str(value)).lower())
        if found is None:
            raise ValueError(f"must be {' or '.join(filter(None, (', '.join(words[:-1]), words[-1])))}")
        return found

    return parse


def listed(value: object) -> Sequence[object]:
    """Split a list: commas, with spaces and line ends around them, and perhaps one at the end."""
    if not isinstance(value, str):
        return [value] if not isinstance(value, Sequence) else value
    parts = [part for part in map(trimmed, re.split(r"[,\n]", value)) if part]
    if not parts:
        raise ValueError("names nothing between its commas; leave it empty for the default")
    return parts


def pattern(expression: str, problem: str) -> Callable[[object], str]:
    """Return a parser of texts that match a regular expression as a whole; ``problem`` says what they are."""

    def parse(value: object) -> str:
        text = trimmed(value) if isinstance(value, str) else ""
        if not re.fullmatch(expression, text, re.ASCII):
            raise ValueError(problem)
        return text

    return parse


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    text = trimmed(value) if isinstance(value, str) else ""
    return int(text) if re.fullmatch(r"\+?[0-9]{1,18}", text) else None


def _decimal(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    text = trimmed(value) if isinstance(value, str) else ""
    return float(text) if re.fullmatch(r"\+?[0-9]{1,18}(?:\.[0-9]{1,18})?", text) else None
