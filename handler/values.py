"""The texts of settings: cleaned, and parsed into numbers, booleans, words and lists.

A text that cannot be parsed is a ``ValueError``, whose text says what the setting must be. It never shows the
text itself, which may be a misplaced secret.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

_INVISIBLE = "\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}\0"
"""Characters besides spaces that editors and copying leave at the ends; the third is the byte order mark."""

_QUOTES = ('"', "'")
_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "off", "0"})

YEARS_100: Final = 3_155_760_000
"""Seconds: the longest time that a setting can have."""


_SEPARATED = re.compile(r"[0-9]{1,3}(?:[,._' \N{NO-BREAK SPACE}\N{RIGHT SINGLE QUOTATION MARK}][0-9]{3})+")
_AMOUNT = re.compile(r"([0-9][0-9,._' \N{NO-BREAK SPACE}\N{RIGHT SINGLE QUOTATION MARK}]*)([a-z]*)")
_TIMES = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_UNITS: Mapping[str, Mapping[str, float]] = {
    "": {},
    "seconds": _TIMES | {"ms": 0.001},
    "days": {word: seconds / 86_400 for word, seconds in _TIMES.items()},
    "bytes": {"b": 1, "byte": 1, "bytes": 1}
    | {f"{letter}{end}": 1024**power for power, letter in enumerate("kmg", 1) for end in ("", "b", "ib")},
}
"""What people write after a number, in the unit of a setting."""

JSON_LIST: Final = re.compile(r"""\s*\[\s*["']""")


class Unusable(ValueError):
    """A text that a setting cannot have. ``meant`` is the value that was probably meant.

    It consists of a number or of the setting's own words, never of a text that may be a secret.
    """

    def __init__(self, text: str, meant: str = "") -> None:
        super().__init__(text)
        self.meant = meant


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


def whole(least: int, most: int, unit: str = "") -> Callable[[object], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(value: object) -> int:
        number = _whole(value)
        if number is None or not least <= number <= most:
            meant = _amount(str(value), unit)
            fits = meant is not None and meant == int(meant) and least <= meant <= most
            raise Unusable(
                f"must be a whole number from {least} to {most}, in digits", f"{meant:.0f}" if fits else ""
            )
        return number

    return parse


def decimal(least: float, most: float, unit: str) -> Callable[[object], float]:
    """Return a parser of numbers of a unit within bounds; ``unit`` is the word for the error."""

    def parse(value: object) -> float:
        number = _decimal(value)
        if number is None or not least <= number <= most:
            meant = _amount(str(value), unit)
            fits = meant is not None and least <= meant <= most
            raise Unusable(
                f"must be {unit}, from {least:g} to {most:.10g}, in digits and without a letter for the unit",
                f"{meant:.10g}" if fits else "",
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
            text = trimmed(str(value)).lower().replace("-", "_")
            [meant] = get_close_matches(text, known, 1) or [""]
            raise Unusable(
                f"must be {' or '.join(filter(None, (', '.join(words[:-1]), words[-1])))}",
                known.get(meant, ""),
            )
        return found

    return parse


def listed(value: object) -> Sequence[object]:
    """Split a list: commas, with spaces and line ends around them, and perhaps one at the end."""
    if not isinstance(value, str):
        return [value] if not isinstance(value, Sequence) else value
    if JSON_LIST.match(value):
        raise ValueError("is written as JSON; write its parts alone, with commas between them")
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


def amounts(text: str, least: int, most: int) -> Sequence[int]:
    """Return what is meant by several whole numbers of seconds; nothing where one is unclear."""
    parts = [part for part in re.split(r"[,;\s/]+", text.strip("[] ")) if part]
    found = [_amount(part, "seconds") for part in parts]
    whole = [int(each) for each in found if each is not None and each == int(each)]
    fitting = [each for each in whole if least <= each <= most]
    return fitting if len(fitting) == len(parts) else ()


def _amount(text: str, unit: str) -> float | None:
    """Return what is meant by a number with separators, or with the letters of a unit; None if unclear."""
    found = _AMOUNT.fullmatch(trimmed(text).lower())
    factor = (1.0 if not found[2] else _UNITS[unit].get(found[2])) if found else None
    if found is None or factor is None:
        return None
    digits = found[1].strip()
    if _SEPARATED.fullmatch(digits):
        return int(re.sub("[^0-9]", "", digits)) * factor
    if re.fullmatch(r"[0-9]{1,18}(?:[.,][0-9]{1,9})?", digits):
        return float(digits.replace(",", ".")) * factor
    return None


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
