"""The archive file of dead letters: JSON lines, each with a body as text, or as base64 if it is not UTF-8."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.headers import headers_from_json, headers_to_json
from events.message import Message
from events.properties import checked_properties
from handler.dead_letters.dead_letter import DeadLetter
from handler.errors import SnapshotBackupError
from handler.json_file import JsonFile
from handler.output_file import OutputFile

_MOST_CHARACTERS = 256 * 1024 * 1024
"""Characters of one dead letter: RabbitMQ takes messages of up to 128 MiB, which base64 lengthens."""


class ArchiveError(SnapshotBackupError):
    """The archive cannot be read or written, or one of its lines is not a dead letter."""


class _Record(BaseModel):
    """The fields of a line that are read back; the other fields of a line are derived from these."""

    model_config = ConfigDict(extra="ignore")

    body: str | None = None
    body_base64: str | None = None
    content_type: str | None = None
    headers: dict[str, object] = Field(default_factory=dict)
    properties: dict[str, object] = Field(default_factory=dict)

    def message(self) -> Message:
        """Return the message. Raises ``ValueError``."""
        if (self.body is None) == (self.body_base64 is None):
            raise ValueError("it needs exactly one of body and body_base64")
        if self.body is not None:
            body = self.body.encode()
        else:
            body = base64.b64decode(self.body_base64 or "", validate=True)
        headers = headers_from_json(self.headers)
        return Message(body, self.content_type, headers, checked_properties(self.properties))


def to_line(dead_letter: DeadLetter) -> str:
    """Return a dead letter as one JSON line, without the line break."""
    message = dead_letter.message
    line = {
        **dead_letter.facts(),
        "content_type": message.content_type,
        "headers": headers_to_json(message.headers),
        "properties": dict(message.properties),
    }
    try:
        line["body"] = message.body.decode()
    except UnicodeDecodeError:
        line["body_base64"] = base64.b64encode(message.body).decode()
    return json.dumps(line, ensure_ascii=False)


def from_line(text: str) -> DeadLetter:
    """Return the dead letter of a JSON line. Raises ``ValueError``."""
    return DeadLetter(_Record.model_validate_json(text).message())


class ArchiveReader:
    """Reads dead letters from an archive, which may be indented or an array after it was edited.

    ``total`` counts them. All are checked when the reader is made. Raises ``ArchiveError`` or
    ``JsonFileError``, which name a bad line.
    """

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, limit=_MOST_CHARACTERS)
        self.seen = 0
        try:
            self.total = sum(1 for _ in self)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[DeadLetter]:
        """Yield the dead letters from the file's start."""
        self.seen = 0
        for text, line in self._file:
            self.seen += 1
            yield self._read(text, line)

    def _read(self, text: str, line: int) -> DeadLetter:
        try:
            return from_line(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        except ValueError as error:
            problem = str(error)
        raise ArchiveError(f"{self._file.name}, line {line} is not a dead letter: {problem}")


class Archive:
    """Writes dead letters to a new file that only its owner can read; it never overwrites a file.

    The file has its name from the first ``save`` on; without one, ``close`` leaves no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        with self._failing():
            self._file = OutputFile(path, mode=0o600)

    def add(self, dead_letter: DeadLetter) -> None:
        """Append a dead letter. Raises ``ArchiveError``."""
        with self._failing():
            self._file.stream.write(f"{to_line(dead_letter)}\n".encode())
        self.count += 1

    def save(self) -> None:
        """Write everything to disk (fsync). Raises ``ArchiveError``."""
        with self._failing():
            self._file.create()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(f"{self.path}: {error.strerror}") from None
