"""Unreadable headers on a real broker: only their message is dead-lettered, at its first delivery."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from handler.cli import app
from infra.emulator.testing import running_emulator
from tests.chaos.site import Site, wait_for
from tests.integration.dead_letters.place import event
from tests.unit.broker.header_frames import RawProperties, nested, table

pytestmark = pytest.mark.broker

SECONDS = 20.0
"""How long such a message may take on a busy machine."""

HEADERS = {
    "deep tables": nested(500),
    "deep arrays": nested(20_000, kind=b"A"),
    "year 10000": b"T" + struct.pack(">Q", 253_402_300_800),
}


@pytest.fixture
def site(amqp_url: str, tmp_path: Path, unique: str) -> Iterator[Site]:
    """Yield a site without a worker."""
    with running_emulator() as emulator, Site(amqp_url, emulator, tmp_path, unique) as site:
        yield site


def publish(site: Site, queue: str, number: int, value: bytes) -> None:
    """Publish an event with a header of this value."""
    properties = RawProperties(table(odd=value))
    site.rabbit.insist(lambda channel: channel.basic_publish("", queue, event(number), properties))


def run(site: Site, *arguments: str) -> Result:
    """Run a command on the dead letters."""
    return CliRunner().invoke(app, ["dead-letters", *arguments], env=site.environment)


@pytest.mark.parametrize("name", HEADERS)
def test_an_unreadable_header_makes_a_dead_letter_at_once(site: Site, name: str) -> None:
    """A message with an unreadable header becomes a malformed dead letter, and the connection stays."""
    dead = site.queues[-1]
    site.start_worker()
    wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)
    publish(site, site.name, 1, HEADERS[name])
    wait_for(lambda: site.counts()[dead] == 1, seconds=SECONDS, what=site.counts)
    [listed] = json.loads(run(site, "list", "--json").stdout)["messages"]
    assert ("malformed", "bad_headers") == (listed["category"], listed["code"])
    assert "odd" in listed["reason"]
    assert 1 == site.logs[site.workers[0].pid].read_bytes().count(b"broker.connected")


def test_every_command_reads_past_an_unreadable_header(site: Site) -> None:
    """Each command handles a dead letter with an unreadable header, which another program published."""
    dead = site.queues[-1]
    publish(site, dead, 1, HEADERS["deep tables"])
    wait_for(lambda: site.counts()[dead] == 1, seconds=SECONDS, what=site.counts)
    [listed] = json.loads(run(site, "list", "--json").stdout)["messages"]
    for arguments in (
        ("show", listed["id"]),
        ("replay", "--dry-run"),
        ("export", "--out", str(site.folder / "dead.jsonl")),
        ("drop", "--yes", "--no-export"),
    ):
        done = run(site, *arguments)
        assert 0 == done.exit_code, (arguments, done.output, done.exception)
    assert 0 == site.counts()[dead]


def test_a_replay_of_an_unreadable_header_is_malformed_again(site: Site) -> None:
    """A replayed dead letter with an unreadable header becomes malformed again."""
    dead = site.queues[-1]
    publish(site, dead, 1, HEADERS["deep tables"])
    wait_for(lambda: site.counts()[dead] == 1, seconds=SECONDS, what=site.counts)
    assert 0 == run(site, "replay", "--yes").exit_code
    site.start_worker()
    wait_for(lambda: site.counts()[dead] == 1, seconds=2 * SECONDS, what=site.counts)
    [listed] = json.loads(run(site, "list", "--json").stdout)["messages"]
    assert "bad_headers" == listed["code"]
