"""A console as a process of its own, and programs that ask it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import httpx

from handler.ledger.stores import open_ledger
from infra.local.ready import wait_until
from infra.local.server import free_ports
from tests.integration.dead_letters.place import Place

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
