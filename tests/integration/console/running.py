"""A console as a process of its own, and programs that ask it."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import httpx

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Doubt, Finished, Granted, Key, Waiting
from handler.ledger.stores import open_ledger
from infra.local.ready import wait_until
from infra.local.server import free_ports
from tests.integration.dead_letters.place import PROJECT, Place, event, snapshot_id

T = TypeVar("T")
SECONDS = 60.0


class RunningConsole(NamedTuple):
    """A console, its address, and a client that sends no proxy its requests."""

    process: "subprocess.Popen[bytes]"
    url: str
    client: httpx.Client


@contextmanager
def running_console(place: Place, **settings: str) -> Iterator[RunningConsole]:
    """Run a console on a topology until the block ends."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    url = f"http://{address}"
    with (
        subprocess.Popen(
            [sys.executable, "-m", "handler", "console"],
            env={**place.environment, "CONSOLE_ADDRESS": address, **settings},
            cwd=place.folder,
        ) as process,
        httpx.Client(base_url=url, trust_env=False, timeout=SECONDS) as client,
    ):
        try:
            assert wait_until(lambda: _answers(client), seconds=SECONDS), process.poll()
            yield RunningConsole(process, url, client)
        finally:
            process.terminate()


def prepared(place: Place) -> None:
    """Make the ledger, as a first worker does."""

    async def make() -> None:
        ledger = open_ledger(place.settings_of_program["LEDGER_URL"], lease_seconds=20)
        await ledger.check()
        await ledger.aclose()

    asyncio.run(make())


def filled(place: Place) -> None:
    """Make the ledger, with a snapshot in each state that its page shows otherwise."""

    async def make() -> None:
        ledger = open_ledger(place.settings_of_program["LEDGER_URL"], lease_seconds=20)
        claims = [
            await ledger.claim(Key(PROJECT, snapshot_id(number)), f"event-{number}") for number in range(5)
        ]
        accepted, completed, failed, doubtful, _held = [each for each in claims if isinstance(each, Granted)]
        failure = Failure(category=Category.QUOTA, code="VolumeBackup.0061", message="no room")
        end = CompletedBackup(id="backup-1", name="nightly", status="available", size=4)
        await ledger.created(accepted, AcceptedBackup(id="backup-0", name="nightly"))
        await ledger.created(completed, AcceptedBackup(id="backup-1"))
        await ledger.finished(
            completed.key, Finished(end, seconds=90.0), backup_id="backup-1", cause="event-1"
        )
        await ledger.refused(failed, "event-2", failure, attempts=8)
        await ledger.doubt(doubtful, Doubt(since=time.time(), lookups=2, lookup_after=time.time() + 60))
        for number, reason in enumerate(("track", "retry", "lookup", "room")):
            about = (PROJECT, snapshot_id(number))
            await ledger.record_waiting(Waiting(f"m-{number}", event(number), 60.0, reason, 1, *about))
        await ledger.aclose()

    asyncio.run(make())


def beside(work: Callable[[], T]) -> T:
    """Run work in a thread of its own: in a test's own thread the browser's library has an event loop."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def resident_megabytes(pid: int) -> float:
    """Return the memory of a process."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read())
    assert found
    return int(found[1]) / 1024


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/sign-in").status_code in (200, 303)
    except httpx.TransportError:
        return False
