"""Splits a text into the JSON objects in it: one on each line, in an array, or indented over several lines.

The text may come in parts. Only the object at hand is kept, and returned as it is written.
"""

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_SPACE: Final = re.compile("[ \t\r\n\ufeff]*+")
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Finds the end of an object. Numbers stay text, which is quick however long they are."""


class JsonText(NamedTuple):
    """The text of a JSON object, and the number of the line in which it begins."""

    text: str
    line: int


class BadJsonError(ValueError):
    """The text is not a sequence of JSON objects. ``line`` is where the bad one begins, from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


class JsonTexts:
    """Reads JSON objects from a text. An object has at most ``limit`` characters.

    ``pending`` is how many characters wait for the rest of their object. Parts of at least that length keep
    the time linear.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._text = ""
        self._at = 0
        self._line = 1
        self._array = 0
        self._expected = "{["

    @property
    def pending(self) -> int:
        """How many characters were not read yet."""
        return len(self._text) - self._at

    def feed(self, part: str, *, last: bool) -> Iterator[JsonText]:
        """Yield the objects that end in this part of the text; ``last`` says that no other follows.

        Raises:
            BadJsonError: the text is something else.

        """
        self._text, self._at = self._text[self._at :] + part, 0
        while self._skip_space():
            char = self._text[self._at]
            if char not in self._expected:
                raise self._unexpected(char)
            if char == "{":
                if not (found := self._object(last=last)):
                    return
                yield found
                self._expected = ",]" if self._array else "{["
                continue
            self._array = {"[": self._line, ",": self._array, "]": 0}[char]
            self._expected = {"[": "{]", ",": "{", "]": "{["}[char]
            self._at += 1
        if last and self._array:
            raise BadJsonError(self._array, "the array that begins here has no end")

    def _skip_space(self) -> bool:
        """Skip white space; return whether something follows."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        self._line += found[0].count("\n") if found else 0
        return self._at < len(self._text)

    def _object(self, *, last: bool) -> JsonText | None:
        """Return the object that begins here; None if its end has not come yet."""
        try:
            _, end = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if self.pending > self._limit:
                raise self._too_long() from None
            if not last:
                return None
            line = self._line + self._text.count("\n", self._at, error.pos)
            where = "" if line == self._line else f" (line {line})"
            raise BadJsonError(self._line, f"not JSON: {error.msg}{where}") from None
        except RecursionError:
            raise BadJsonError(self._line, "nested too deeply") from None
        if end - self._at > self._limit:
            raise self._too_long()
        found = JsonText(self._text[self._at : end], self._line)
        self._line += self._text.count("\n", self._at, end)
        self._at = end
        return found

    def _too_long(self) -> BadJsonError:
        return BadJsonError(self._line, f"an object of more than {self._limit} characters")

    def _unexpected(self, char: str) -> BadJsonError:
        if self._expected == "{[":
            return BadJsonError(self._line, f"not a JSON object, nor an array of objects: {char!r}")
        return BadJsonError(self._line, f"not JSON: {char!r} is unexpected here in an array")
