"""``snapshot-backup publish --file`` on a real broker: all is checked before anything is sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from handler.cli import app
from tests.chaos.rabbit import Rabbit, delete
from tests.unit.events.forms import load

pytestmark = pytest.mark.broker

FORMS = ("cloudevents", "cinder-wrapped", "cinder-bare", "data", "eventgrid-trace", "foreign-backup")
CONTENT_TYPES = [
    "application/cloudevents+json" if name in {"cloudevents", "eventgrid-trace"} else "application/json"
    for name in FORMS
]


class Place:
    """Queue and exchanges of one test, and the command that publishes to them."""

    def __init__(self, rabbit: Rabbit, url: str, name: str) -> None:
        self.rabbit = rabbit
        self.name = name
        self.environment = {
            "AMQP_URL": url,
            "SNAPSHOT_QUEUE": name,
            "SNAPSHOT_EXCHANGE": f"{name}.in",
            "RESULT_EXCHANGE": f"{name}.out",
            "WAIT_LADDER": "5",
            "VBS_ENDPOINT": "http://127.0.0.1:9",
            "MAX_BODY_BYTES": "8192",
        }

    def publish(self, file: str, text: bytes | None = None) -> Result:
        """Run the command."""
        arguments = ["publish", "--file", file, "--json"]
        return CliRunner().invoke(app, arguments, input=text, env=self.environment)

    def sent(self) -> list[tuple[str | None, bytes]]:
        """Take what was published: content types and bodies."""

        def take(channel: Any) -> list[tuple[str | None, bytes]]:
            found = []
            while (got := channel.basic_get(self.name, auto_ack=True))[0] is not None:
                found.append((got[1].content_type, got[2]))
            return found

        taken: list[tuple[str | None, bytes]] = self.rabbit.insist(take)
        return taken


@pytest.fixture
def place(amqp_url: str, unique: str) -> Iterator[Place]:
    """Yield names of this test's own on the broker."""
    with Rabbit(amqp_url) as rabbit:
        yield Place(rabbit, amqp_url, unique)
        queues = [unique, f"{unique}.dead", f"{unique}.wait.5s"]
        delete(rabbit, queues, [f"{unique}.in", unique, f"{unique}.dead", f"{unique}.out"])


def written(shape: str) -> str:
    """Return one event of each form in a shape of a file."""
    events = [load(name) for name in FORMS]
    if shape == "an array":
        return json.dumps(events, indent=2)
    indent = 2 if shape == "indented" else None
    return "\n".join(json.dumps(event, indent=indent) for event in events)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("shape", ["lines", "an array", "indented"])
def test_a_file_is_published_in_every_shape(place: Place, tmp_path: Path, shape: str, encoding: str) -> None:
    """Each event of a file becomes a message with the content type of its form, and their number is told."""
    file = tmp_path / "events"
    file.write_bytes(written(shape).encode(encoding))

    done = place.publish(str(file))

    assert (0, {"sent": len(FORMS)}) == (done.exit_code, json.loads(done.stdout)), done.output
    sent = place.sent()
    assert CONTENT_TYPES == [content_type for content_type, _ in sent]
    assert [load(name) for name in FORMS] == [json.loads(body) for _, body in sent]


def test_events_of_lines_are_published_byte_for_byte(place: Place) -> None:
    """A line from standard input is the body that is published, with its blanks and escapes."""
    line = json.dumps(load("data"), indent=None, separators=(" , ", ":")).replace("}", ', "x": "\\u00fc ü" }')

    done = place.publish("-", f"\n{line}\r\n".encode())

    assert 0 == done.exit_code, done.output
    assert [("application/json", line.encode())] == place.sent()


BAD = {
    "no JSON": ("{no", "not JSON"),
    "a trailing comma": ('{"a": 1,}', "not JSON"),
    "NaN": ('{"snapshot_id": NaN}', "not_json"),
    "a lone surrogate": ('{"snapshot_id": "\\ud800"}', "not_json"),
    "an unknown form": ('{"hello": "world"}', "unknown_form"),
    "another type": (json.dumps({**load("data"), "event": "snapshot.deleted"}), "unknown_type"),
    "a broken rule": (json.dumps({**load("data"), "volume_id": "one"}), "bad_field: volume_id"),
    "two snapshots": ('{"volume_id": "a", "snapshot_id": "b", "snapshot_id": "c"}', "duplicate_key"),
    "a text": ('"text"', "not a JSON object"),
    "too large": (json.dumps({**load("data"), "x": "x" * 9_000}), "more than 8192 characters"),
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_published_of_a_file_with_a_bad_line(place: Place, tmp_path: Path, name: str) -> None:
    """A bad line is named with its reason before the broker is asked, and no event of the file is sent."""
    line, reason = BAD[name]
    good = json.dumps(load("cloudevents"))
    (tmp_path / "events.jsonl").write_text(f"{good}\n\n{line}\n{good}\n", encoding="utf-8")
    place.environment["AMQP_URL"] = "amqp://127.0.0.1:9/"  # nothing listens there

    done = place.publish(str(tmp_path / "events.jsonl"))

    assert 1 == done.exit_code
    assert "events.jsonl, line 3: " in done.stderr
    assert reason in done.stderr


def test_a_missing_file_is_wrong_usage(place: Place) -> None:
    """A file that is missing ends the command with exit code 2 and its name."""
    done = place.publish("/nowhere.jsonl")

    assert 2 == done.exit_code
    assert done.stderr.endswith("Error: Invalid value for '--file': /nowhere.jsonl does not exist\n")
