"""Dead letters in files."""

import stat
from pathlib import Path

import pytest

from events.message import Message
from handler.dead_letters.archive import Archive, ArchiveError, ArchiveReader, from_line, to_line
from handler.dead_letters.dead_letter import DeadLetter
from tests.unit.dead_letters.samples import BROKERS, DATA, ours


@pytest.mark.parametrize(
    "message", [ours(), Message(DATA, None, BROKERS), Message(b"\xff\x00", None, {"bytes": b"\xff", "n": 1})]
)
def test_a_letter_comes_out_as_it_went_in(message: Message) -> None:
    """Body, headers and identity, whoever buried it."""
    dead_letter = DeadLetter(message)

    assert dead_letter == from_line(to_line(dead_letter))


def test_a_line_is_a_line() -> None:
    """Whatever is in the body."""
    assert "\n" not in to_line(DeadLetter(Message("a\nb\u2028c".encode())))


def test_a_file_gives_its_letters_and_how_many_there_are(tmp_path: Path) -> None:
    """The number is known before they are read."""
    with Archive(tmp_path / "a.jsonl") as archive:
        archive.add(DeadLetter(ours()))
        archive.add(DeadLetter(ours(event_id="event-2")))
        archive.save()

    reader = ArchiveReader(tmp_path / "a.jsonl")

    assert 2 == reader.total
    assert ["event-1", "event-2"] == [dead_letter.event_id for dead_letter in reader]


def test_a_file_is_its_owners_only(tmp_path: Path) -> None:
    """Events name projects and volumes."""
    with Archive(tmp_path / "a.jsonl"):
        pass

    assert 0o600 == stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode)


def test_a_file_that_exists_is_not_touched(tmp_path: Path) -> None:
    """It may hold what was dropped last night."""
    (tmp_path / "a.jsonl").write_text("last night's")

    with pytest.raises(ArchiveError, match="exists"):
        Archive(tmp_path / "a.jsonl")
    assert "last night's" == (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize(
    "line",
    ["no JSON", "[]", "{}", '{"body": "a", "body_base64": "YQ=="}', '{"body_base64": "?"}', '{"body": 1}'],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    """A file may have been edited by hand."""
    (tmp_path / "a.jsonl").write_text(f'{{"body": "{{}}"}}\n\n{line}\n')

    with pytest.raises(ArchiveError, match="line 3 "):
        list(ArchiveReader(tmp_path / "a.jsonl"))


def test_a_missing_file_is_one_plain_error(tmp_path: Path) -> None:
    """The command prints it as one line."""
    with pytest.raises(ArchiveError, match="No such file"):
        ArchiveReader(tmp_path / "none.jsonl")
