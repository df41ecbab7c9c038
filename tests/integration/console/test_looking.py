"""Looking loses nothing at the size of a bad night: 40,000 dead letters and 5,000 messages that wait.

``LOOKED_AT=400`` makes it smaller, ``LOOKS=10`` shorter. An operator makes a hundred looks at everything,
while a worker consumes beside the console. Each reads the whole queue.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from handler.backup.ports import Waiting
from handler.ledger.stores import open_ledger
from infra.emulator.testing import Emulator, running_emulator
from tests.bench.rows import cpu_seconds
from tests.integration.console.running import SECONDS, RunningConsole, resident_megabytes, running_console
from tests.integration.console.test_dead_letters import LOOK, fill, taken
from tests.integration.dead_letters.place import PROJECT, Place, Raw, event, snapshot_id

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.timeout(7200)]

DEAD = int(os.environ.get("LOOKED_AT", "40000"))
WAITING = DEAD // 8
LOOKS = int(os.environ.get("LOOKS", "100"))
LOOKS_AFTER_KILL = max(1, LOOKS // 10)
"""A look reads all dead letters, so a hundred of them take minutes: once is enough."""
_DELAY = 3600


@pytest.fixture
def delays() -> tuple[int, ...]:
    """What waits does so for an hour, longer than the looks take."""
    return (_DELAY,)


@pytest.fixture
def emulator(place: Place) -> Iterator[Emulator]:
    """Run an emulator, of which the worker knows."""
    with running_emulator(process=True, settle=0.0) as running:
        settings = {"VBS_AUTH": "none", "RESULT_UNROUTABLE": "ignore", "TRACK_BACKUPS": "false"}
        place.settings.update(VBS_ENDPOINT=running.url, LOG_LEVEL="WARNING", **settings)
        yield running


def fill_waits(place: Place) -> None:
    """Put messages into the wait queue, and record them as a worker does."""
    bodies = [event(DEAD + number) for number in range(WAITING)]
    queue = f"{place.topology.queue}.wait.{_DELAY}s"
    place.publish(queue, [(body, {"own": number}) for number, body in enumerate(bodies)])

    async def record() -> None:
        ledger = open_ledger(place.settings_of_program["LEDGER_URL"], lease_seconds=20)
        about = enumerate(bodies, start=DEAD)
        await asyncio.gather(
            *(
                ledger.record_waiting(
                    Waiting(f"w{number}", body, _DELAY, "retry", 1, PROJECT, snapshot_id(number))
                )
                for number, body in about
            )
        )
        await ledger.aclose()

    asyncio.run(record())


def waits(place: Place) -> list[Raw]:
    """Take what is in the wait queue."""
    return place.take(f"{place.topology.queue}.wait.{_DELAY}s")


def look(place: Place, console: RunningConsole, numbers: range) -> None:
    """Look at everything, with another limit each time, while new events come in for the worker."""
    for number in numbers:
        with place.channel() as channel:
            body = event(2 * DEAD + number, volume_id=str(uuid.UUID(int=number + 1)))
            channel.basic_publish(place.topology.snapshot_exchange, "snapshot.completed", body)
        found = console.client.get(f"{LOOK}?limit={DEAD + number}", timeout=SECONDS * 10)
        assert found.is_success, found.text
        assert DEAD == found.json()["total"]
        for path in ("/", f"/waiting?limit={number + 1}", f"/snapshots?id={snapshot_id(DEAD + number)}"):
            assert console.client.get(path).is_success


def test_a_hundred_looks_change_nothing(place: Place, emulator: Emulator) -> None:
    """Order, bodies and headers of dead letters and waiting messages are as they were."""
    before = fill(place, count=DEAD)
    fill_waits(place)
    with place.worker(), running_console(place) as console:
        began, used = time.monotonic(), cpu_seconds(console.process.pid)
        look(place, console, range(LOOKS))
        took, used = time.monotonic() - began, cpu_seconds(console.process.pid) - used
        place.until(lambda: emulator.count_backups() == LOOKS)
        print(
            f"\n{LOOKS} looks at {DEAD} took {took:.0f} s and {used:.0f} s of the console's CPU; it holds "
            f"{resident_megabytes(console.process.pid):.0f} MB"
        )

    assert before == taken(place)
    found = waits(place)
    assert [(event(DEAD + number), number) for number in range(WAITING)] == [
        (body, headers["own"]) for body, headers in found
    ]


def test_a_look_that_is_killed_and_others_after_it_lose_nothing(
    place: Place, emulator: Emulator, rng: random.Random
) -> None:
    """The broker returns each batch of a killed reader whole and in order; nothing is lost or doubled."""
    before = fill(place, count=DEAD)
    fill_waits(place)
    with place.worker():
        with running_console(place) as console:
            with contextlib.suppress(httpx.TimeoutException):
                console.client.get(LOOK, timeout=0.01)  # the answer is not awaited
            place.until(lambda: place.count(place.topology.dead) < DEAD)
            time.sleep(rng.uniform(0, 2.0))  # the random moment is the experiment
            console.process.send_signal(signal.SIGKILL)
            console.process.wait()
        place.until(lambda: place.count(place.topology.dead) == DEAD)
        with running_console(place) as console:
            look(place, console, range(LOOKS_AFTER_KILL))
        place.until(lambda: emulator.count_backups() == LOOKS_AFTER_KILL)

    found = taken(place)
    assert before == sorted(found, key=lambda raw: int(raw[1]["own"]))
    own = [int(headers["own"]) for _, headers in found]
    parts = 1 + sum(second != first + 1 for first, second in itertools.pairwise(own))
    print(f"\nthe dead letters are in {parts} parts, each in order")
    assert parts < 100
    assert list(range(WAITING)) == [headers["own"] for _, headers in waits(place)]
