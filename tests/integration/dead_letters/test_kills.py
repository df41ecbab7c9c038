"""T18: a replay is killed at random moments, and no message is lost or gets a second backup."""

import json
import random
import signal
import time
import uuid
from collections import Counter

import pytest

from infra.emulator.testing import running_emulator
from tests.integration.dead_letters.place import Place, dead_headers, event

pytestmark = pytest.mark.broker
IN_FLIGHT = 256


def replay_with_kills(place: Place, rng: random.Random, *, count: int, kills: int, rate: float) -> int:
    """Replay all in runs that are killed, and in a last one that is not. Return how many were sent twice."""
    place.dead_letter([(event(n, volume_id=_volume(n)), dead_headers(n)) for n in range(count)])
    assert count == place.json("replay", "--dry-run")["would_replay"]
    for _ in range(kills):
        rate_limiter = rng.choice([("--rate", str(rate)), ("--limit", str(2 * count // kills))])
        _kill_one(place, rng.uniform(0.0, 20 / rate), *rate_limiter)
    place.json("replay", "--yes")
    sent = place.take(place.topology.queue)
    seen = Counter(json.loads(body)["id"] for body, _ in sent)
    left = [headers["dl-event-id"] for _, headers in place.take(place.topology.dead)]
    assert [] == left
    assert {f"event-{n}" for n in range(count)} == set(seen)
    assert count == len({json.loads(body)["replayid"] for body, _ in sent})
    _make_backups(place, [body for body, _ in sent], count)
    twice = len(sent) - len(seen)
    print(f"\nT18: {count} dead letters, {kills} kills: moved {len(seen)}, left 0, sent twice {twice}")
    return twice


def _volume(number: int) -> str:
    """Return the volume of the numbered event: ten events each, since a replay lists all backups of one."""
    return str(uuid.UUID(int=number // 10))


def _kill_one(place: Place, moment: float, *rate_limiter: str) -> None:
    """Kill a run so many seconds after its first message; the random moment is the experiment.

    With a rate, messages are published one by one; without, in blocks.
    """
    before = place.count(place.topology.queue)
    process = place.start("replay", "--yes", *rate_limiter)
    place.until(lambda: process.poll() is not None or place.count(place.topology.queue) > before)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _make_backups(place: Place, bodies: list[bytes], count: int) -> None:
    """Let a worker handle everything that was published; no snapshot may get a second backup."""
    with running_emulator(settle=0.0) as emulator, place.channel() as channel:
        place.settings.update(
            VBS_ENDPOINT=emulator.url, VBS_AUTH="none", TRACK_BACKUPS="false", RESULT_UNROUTABLE="ignore"
        )
        for body in bodies:
            channel.basic_publish("", place.topology.queue, body)
        with place.worker():
            # Counted in this order: the list of all backups is long, and reading it slows the emulator.
            place.until(lambda: place.count(place.topology.queue) == 0, seconds=count / 25)
            place.until(lambda: len(emulator.backups()) >= count)
        backups = Counter(backup["request"]["backup"]["snapshot_id"] for backup in emulator.backups())
    assert (count, {1}) == (len(backups), set(backups.values()))


def test_a_replay_killed_eight_times_loses_no_message(place: Place, rng: random.Random) -> None:
    """With 500 messages and 8 kills, each message is replayed, and each snapshot has one backup."""
    twice = replay_with_kills(place, rng, count=500, kills=8, rate=200)

    assert twice <= 8 * IN_FLIGHT


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_a_replay_killed_fifty_times_loses_no_message(place: Place, rng: random.Random) -> None:
    """With 5,000 messages and 50 kills, each snapshot has one backup (T18 in full)."""
    twice = replay_with_kills(place, rng, count=5000, kills=50, rate=200)

    assert twice <= 50 * IN_FLIGHT
