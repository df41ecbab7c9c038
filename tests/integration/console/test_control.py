"""Pause, resume, retry now and cancel through the console, with a worker."""

import pytest

from infra.emulator.testing import running_emulator
from infra.local.ready import wait_until
from tests.console_browser import SECONDS, Browser
from tests.integration.console.running import prepared
from tests.integration.dead_letters.place import Place, event, snapshot_id
from tests.patience import patient

pytestmark = pytest.mark.broker


@pytest.fixture
def delays() -> tuple[int, ...]:
    """One delay, so long that nothing comes back by itself in a test."""
    return (300,)


def publish(place: Place, *numbers: int) -> None:
    """Publish events to the queue."""
    with place.channel() as channel:
        for number in numbers:
            channel.basic_publish("", place.topology.queue, event(number))


def waiting(console: Browser, reason: str) -> int:
    """Return how many messages wait for a reason."""
    return int(console.json(f"/api/waiting?reason={reason}")["total"])


def test_a_pause_holds_events_and_a_resume_brings_them_back(place: Place, console: Browser) -> None:
    """No backup is begun in a pause. What is cancelled fails; all else is backed up after the resume."""
    with running_emulator(settle=0.0) as emulator:
        place.settings.update(VBS_ENDPOINT=emulator.url, VBS_AUTH="none", RESULT_UNROUTABLE="ignore")
        prepared(place)
        console.post("/control/pause", reason="upgrade", csrf_token=console.csrf_token("/control"))
        with place.worker():
            publish(place, 1, 2, 3)
            place.until(lambda: waiting(console, "paused") == 3)
            assert 0 == emulator.count_backups()

            done = console.json("/api/waiting/cancel", {"snapshot": snapshot_id(2)})
            assert [True] == [each["cancelled"] for each in done["messages"]]
            console.json("/api/control/resume", {})
            # The console works while it is asked: it runs in this process.
            place.until(lambda: waiting(console, "paused") == 0 and emulator.count_backups() == 2)
    assert [("cancelled", 1)] == [
        (group["category"], group["count"]) for group in console.json("/api/dead-letters")["groups"]
    ]


def test_waiting_messages_are_brought_back_at_once(place: Place, console: Browser) -> None:
    """A snapshot whose volume is busy waits; the operator brings it back, and it is backed up."""
    with running_emulator(settle=0.0) as emulator:
        emulator.set_faults([{"route": "create", "effect": "status", "status": 409, "times": 1}])
        place.settings.update(VBS_ENDPOINT=emulator.url, VBS_AUTH="none", RESULT_UNROUTABLE="ignore")
        prepared(place)
        with place.worker():
            publish(place, 1)
            place.until(lambda: console.json("/api/waiting")["total"] == 1)
            page = console.post(
                "/waiting/retry-now",
                snapshot=snapshot_id(1),
                csrf_token=console.csrf_token(f"/waiting/cancel?snapshot={snapshot_id(1)}"),
            )
            assert "brought back" in page.text  # a busy machine may need longer than the page waits
            assert wait_until(lambda: emulator.count_backups() == 1, seconds=patient(SECONDS))
