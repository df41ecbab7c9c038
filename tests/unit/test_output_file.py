"""Output files: whole, or not there."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from handler.output_file import OutputFile, write


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_new_file_has_its_content_and_nothing_is_beside_it(tmp_path: Path) -> None:
    """A file that is written has its name, and the file beside it is gone."""
    write(tmp_path / "f", b"new")

    assert {"f": b"new"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_file_stays_as_it_was_where_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    """On a full disk the file that was there keeps its content, and nothing is beside it."""
    (tmp_path / "f").write_bytes(b"old")

    with full_disk(10), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "f", b"x" * 100)

    assert {"f": b"old"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    """Who may read a file stays the same when it is written anew."""
    (tmp_path / "f").touch(mode=0o640)
    write(tmp_path / "f", b"new")

    assert 0o640 == stat.S_IMODE((tmp_path / "f").stat().st_mode)


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    """The file behind a link is written, and the link stays."""
    (tmp_path / "link").symlink_to(tmp_path / "f")
    write(tmp_path / "link", b"new")

    assert (tmp_path / "link").is_symlink()
    assert b"new" == (tmp_path / "f").read_bytes()


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    """What is no file, such as a named pipe, gets the content."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write(tmp_path / "pipe", b"new")

    assert b"new" == os.read(reader, 10)
    os.close(reader)


def test_a_file_without_a_name_is_removed(tmp_path: Path) -> None:
    """A file that is closed before it has its name leaves nothing."""
    with OutputFile(tmp_path / "f") as file:
        file.stream.write(b"half")

    assert [] == [*tmp_path.iterdir()]


def test_a_file_can_grow_after_it_has_its_name(tmp_path: Path) -> None:
    """What is written after the first ``create`` is in the file after the next one."""
    with OutputFile(tmp_path / "f") as file:
        for part in (b"one ", b"two"):
            file.stream.write(part)
            file.create()

    assert b"one two" == (tmp_path / "f").read_bytes()


def test_a_file_that_another_program_made_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """``create`` fails where the name was taken after the file was opened."""
    with OutputFile(tmp_path / "f") as file:
        (tmp_path / "f").write_bytes(b"another's")
        with pytest.raises(FileExistsError):
            file.create()

    assert {"f": b"another's"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
