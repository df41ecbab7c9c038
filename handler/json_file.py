"""Reads a file of JSON objects: one a line, an array, or indented documents, in UTF-8, UTF-16 or UTF-32.

The file is read as often as needed, an object at a time. What can be read only once, such as standard input,
is copied to a temporary file first.
"""

import codecs
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Self

from events.encoding import wide_codec
from events.json_texts import BadJsonError, JsonText, JsonTexts
from handler.errors import SnapshotBackupError

STDIN: Final = Path("-")
_PART: Final = 65_536


class JsonFileError(SnapshotBackupError):
    """A file that cannot be read, or a line of it that is no JSON object."""


class JsonFile:
    """A file of JSON objects with at most ``limit`` characters each; ``STDIN`` is standard input.

    Raises ``JsonFileError``, here and while it is read; the error names the line.
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self.name = "standard input" if path == STDIN else str(path)
        self._limit = limit
        self._resources = ExitStack()
        try:
            self._file = self._open(path)
        except OSError as error:
            self._resources.close()
            raise self._unreadable(error) from None

    def _open(self, path: Path) -> IO[bytes]:
        source = sys.stdin.buffer if path == STDIN else self._resources.enter_context(path.open("rb"))
        if path != STDIN and source.seekable():
            return source
        copy: IO[bytes] = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed there
        shutil.copyfileobj(source, copy)
        return copy

    def __iter__(self) -> Iterator[JsonText]:
        """Yield the objects from the file's start."""
        texts = JsonTexts(self._limit)
        try:
            self._file.seek(0)
            decoder = _Decoder(self._file.read(4))
            self._file.seek(0)
            while part := self._file.read(max(_PART, texts.pending)):
                yield from texts.feed(decoder.decode(part), last=False)
            yield from texts.feed(decoder.decode(b""), last=True)
        except BadJsonError as error:
            raise self.error(error.line, error.problem) from None
        except OSError as error:
            raise self._unreadable(error) from None

    def error(self, line: int, problem: str) -> JsonFileError:
        """Return the error for an object that begins in this line."""
        return JsonFileError(f"{self.name}, line {line}: {problem}")

    def _unreadable(self, error: OSError) -> JsonFileError:
        return JsonFileError(f"{self.name}: {error.strerror or error}")

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Decoder:
    """Decodes parts of a text; the first bytes say which encoding it has."""

    def __init__(self, first: bytes) -> None:
        self._codec = wide_codec(first) or "utf-8"
        self._decoder = codecs.getincrementaldecoder(self._codec)()
        self._line = 1

    def decode(self, part: bytes) -> str:
        """Return the text of a part; an empty part is the end. Raises ``BadJsonError``."""
        try:
            text = self._decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._codec, "ignore")
            line = self._line + before.count("\n")
            raise BadJsonError(line, f"not text in {self._codec.upper()}") from None
        self._line += text.count("\n")
        return text
