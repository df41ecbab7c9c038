"""Unit tests of ``JsonFile``: files of JSON objects in every encoding, and standard input."""

import io
import json
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from handler.json_file import STDIN, JsonFile, JsonFileError

OBJECTS = [{"name": "größe"}, {"name": "\U0001f4be"}, {"n": [1, 2]}]
LINES = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in OBJECTS)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")
LIMIT = 1_000_000


def values(source: JsonFile) -> list[object]:
    """Return the objects of a file."""
    return [json.loads(each.text) for each in source]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    """A file in UTF-8, UTF-16 or UTF-32 is read with and without a mark, as often as it is asked for."""
    file = tmp_path / "f"
    file.write_bytes(LINES.encode(encoding))

    with JsonFile(file, limit=LIMIT) as source:
        assert [OBJECTS, OBJECTS] == [values(source), values(source)]


def test_an_empty_file_has_no_objects(tmp_path: Path) -> None:
    """A file without anything but white space and a mark has no objects."""
    (tmp_path / "f").write_bytes("\n \r\n".encode("utf-8-sig"))

    with JsonFile(tmp_path / "f", limit=LIMIT) as source:
        assert [] == values(source)


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is kept, so that it can be checked first and used then."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES.encode())))

    with JsonFile(STDIN, limit=LIMIT) as source:
        assert [OBJECTS, OBJECTS] == [values(source), values(source)]


def test_a_pipe_can_be_read_twice(tmp_path: Path) -> None:
    """A named pipe, which cannot be read from its start again, is kept too."""
    os.mkfifo(tmp_path / "f")
    writer = threading.Thread(target=(tmp_path / "f").write_bytes, args=[LINES.encode("utf-16")])
    writer.start()

    with JsonFile(tmp_path / "f", limit=LIMIT) as source:
        assert [OBJECTS, OBJECTS] == [values(source), values(source)]
    writer.join()


@pytest.mark.parametrize("before", [0, 1, 70_000])
@pytest.mark.parametrize(
    ("encoding", "bad"), [("utf-8", b'{"a": "\xff"}'), ("utf-16-le", b"\0\xdc\0\xdc"), ("utf-8", b"{broken")]
)
def test_an_error_names_file_and_line(tmp_path: Path, encoding: str, bad: bytes, before: int) -> None:
    """Bytes that are no text, and text that is no JSON, give an error with the file's name and the line."""
    file = tmp_path / "events.jsonl"
    file.write_bytes("{}\n".encode(encoding) * (before + 1) + bad)

    with (
        JsonFile(file, limit=LIMIT) as source,
        pytest.raises(JsonFileError, match=rf"jsonl, line {before + 2}: "),
    ):
        values(source)


@pytest.mark.parametrize("path", ["none", "."])
def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path, path: str) -> None:
    """A missing file and a folder give an error with the name and the reason."""
    with pytest.raises(JsonFileError, match=r"(No such file|Is a directory)"):
        JsonFile(tmp_path / path, limit=LIMIT)


@pytest.mark.parametrize("shape", ["lines", "an array"])
def test_a_large_file_is_read_in_bounded_memory(tmp_path: Path, shape: str) -> None:
    """A file of 40 MB takes a few hundred kilobytes of memory, also if it is one array."""
    file, item = tmp_path / "f", json.dumps({"a": "x" * 1_000})
    separator, ends = ("\n", ("", "")) if shape == "lines" else (",\n", ("[", "]"))
    with file.open("w", encoding="utf-8") as out:
        out.write(ends[0] + item)
        for _ in range(40_000):
            out.write(separator + item)
        out.write(ends[1])
    tracemalloc.start()
    try:
        with JsonFile(file, limit=LIMIT) as source:
            assert 40_001 == sum(1 for _ in source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 2_000_000
