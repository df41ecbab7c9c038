"""Workers of one queue share a key to sign message state, and drop state that a producer forged."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from events.message import Message, State, wrap
from events.state_keys import MAC
from tests.chaos.site import Site, wait_for
from tests.forks import running_emulator
from tests.twins.events import made_up_id, message

pytestmark = pytest.mark.broker

FORGED = State(
    1_700_000_000.0, reason="track", backup_id=made_up_id("backup", 1), accepted_at=1_700_000_000.0
)


@contextmanager
def site(amqp_url: str, unique: str, folder: Path, **settings: str) -> Iterator[Site]:
    """Yield a site whose workers track each backup for some seconds."""
    with (
        running_emulator(settle=2.0) as emulator,
        Site(amqp_url, emulator, folder, unique, {"TRACK_BACKUPS": "true", **settings}) as running,
    ):
        yield running


def waiting(running: Site) -> list[dict[str, Any]]:
    """Consume the delayed messages, publish them to the queue, and return their JSON."""
    found = [body for queue in running.queues[1:-1] for _, body in running.rabbit.take_all(queue)]
    for body in found:
        running.publish(Message(body))
    return [json.loads(body) for body in found]


def test_two_workers_share_the_key_of_the_ledger(amqp_url: str, unique: str, tmp_path: Path) -> None:
    """Two workers, and a third that starts later, accept the state that the others have signed."""
    with site(amqp_url, unique, tmp_path, STATE_KEYS="") as running:
        running.start_worker()
        running.start_worker()
        running.ask({made_up_id("event", n): (made_up_id("snapshot", n), message(n)) for n in range(20)})
        signed: list[dict[str, Any]] = []

        def some_wait() -> bool:
            signed.extend(waiting(running))
            return bool(signed)

        wait_for(some_wait, seconds=30, what=running.counts)
        running.start_worker()
        running.wait_until_ended(seconds=60)

        assert {64} == {len(each[MAC]) for each in signed}
        assert "state.dropped" not in running.log_tail(1000)
        running.judge("shared key")


def test_a_forged_state_changes_no_backup_and_no_outcome(amqp_url: str, unique: str, tmp_path: Path) -> None:
    """The worker drops a forged state, and the snapshot has one backup and its outcomes."""
    with site(amqp_url, unique, tmp_path, STATE_KEYS="") as running:
        running.publish(Message(wrap(message(1), FORGED, event_id="e")))
        running.ask({made_up_id("event", 1): (made_up_id("snapshot", 1), message(1))})
        running.start_worker()
        running.wait_until_ended(seconds=60)

        assert "state.dropped" in running.log_tail(1000)
        running.judge("forged wait")


def test_without_a_ledger_and_keys_the_start_warns(amqp_url: str, unique: str, tmp_path: Path) -> None:
    """Without a ledger and STATE_KEYS, the worker starts and logs a warning."""
    with site(amqp_url, unique, tmp_path, STATE_KEYS="", LEDGER_URL="none") as running:
        running.start_worker()
        wait_for(lambda: "state.unauthenticated" in running.log_tail(1000), seconds=30, what=running.log_tail)
        running.stop()
