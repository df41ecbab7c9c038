"""Archives of dead letters."""

import json
import stat
from pathlib import Path

import pytest

from events.message import Message
from handler.dead_letters.archive import Archive, ArchiveError, ArchiveReader, from_line, to_line
from handler.dead_letters.dead_letter import DeadLetter
from handler.errors import SnapshotBackupError
from handler.json_file import JsonFileError
from tests.unit.dead_letters.samples import BROKERS, DATA, ours


@pytest.mark.parametrize(
    "message", [ours(), Message(DATA, None, BROKERS), Message(b"\xff\x00", None, {"bytes": b"\xff", "n": 1})]
)
def test_a_dead_letter_is_read_back_from_an_archive_unchanged(message: Message) -> None:
    """An archive line keeps body, headers and ids, whichever program dead-lettered the message."""
    dead_letter = DeadLetter(message)

    assert dead_letter == from_line(to_line(dead_letter))


def test_an_archive_line_contains_no_line_break() -> None:
    """A line break in the body is escaped in the archive line."""
    assert "\n" not in to_line(DeadLetter(Message("a\nb\u2028c".encode())))


def test_an_archive_yields_its_dead_letters_and_their_number(tmp_path: Path) -> None:
    """The reader knows the number of dead letters before it reads them."""
    with Archive(tmp_path / "a.jsonl") as archive:
        archive.add(DeadLetter(ours()))
        archive.add(DeadLetter(ours(event_id="event-2")))
        archive.save()

    with ArchiveReader(tmp_path / "a.jsonl") as reader:
        assert 2 == reader.total
        assert ["event-1", "event-2"] == [dead_letter.event_id for dead_letter in reader]


def test_an_archive_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The archive has mode 0600, since events name projects and volumes."""
    with Archive(tmp_path / "a.jsonl") as archive:
        archive.save()

    assert 0o600 == stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """An existing archive is an error, since it may hold dead letters that were dropped before."""
    (tmp_path / "a.jsonl").write_text("last night's")

    with Archive(tmp_path / "a.jsonl") as archive, pytest.raises(ArchiveError, match="exists"):
        archive.save()
    assert "last night's" == (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize(
    "line",
    ["no JSON", "[1]", "{}", '{"body": "a", "body_base64": "YQ=="}', '{"body_base64": "?"}', '{"body": 1}'],
)
def test_the_error_for_a_bad_line_has_its_number(tmp_path: Path, line: str) -> None:
    """An archive with a bad line is refused before any dead letter is read; the error has its number."""
    (tmp_path / "a.jsonl").write_text(f'{{"body": "{{}}"}}\n\n{line}\n')

    with pytest.raises(SnapshotBackupError, match=r"a\.jsonl, line 3\b"):
        ArchiveReader(tmp_path / "a.jsonl")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("shape", ["lines", "an array", "indented"])
def test_an_archive_that_was_edited_is_read(tmp_path: Path, shape: str, encoding: str) -> None:
    """An archive is read in every shape and encoding in which an editor or another tool writes it again."""
    lines = [to_line(DeadLetter(ours(event_id=f"event-{n}")._replace(body="ü\n".encode()))) for n in range(3)]
    text = {
        "lines": "\r\n".join(lines),
        "an array": json.dumps([json.loads(line) for line in lines], indent=2),
        "indented": "\n".join(json.dumps(json.loads(line), indent=4) for line in lines),
    }[shape]
    (tmp_path / "a.json").write_bytes(text.encode(encoding))

    with ArchiveReader(tmp_path / "a.json") as reader:
        assert 3 == reader.total
        found = [(each.event_id, each.message.body.decode()) for each in reader]

    assert [("event-0", "ü\n"), ("event-1", "ü\n"), ("event-2", "ü\n")] == found


def test_a_missing_archive_is_an_archive_error(tmp_path: Path) -> None:
    """A missing archive raises an error that the command prints as one line."""
    with pytest.raises(JsonFileError, match="No such file"):
        ArchiveReader(tmp_path / "none.jsonl")
