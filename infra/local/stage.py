"""The emulator, the worker and the console of a run as processes, in a temporary folder."""

import asyncio
import re
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from handler.settings import Settings
from infra.emulator.testing import Emulator
from infra.local.child import Child
from infra.local.guardian import Guardian

# Short delays, so that a first run takes seconds. A call in doubt is looked up for at least VBS_TIMEOUT.
WAIT_LADDER: Final = (1, 2, 5)
VBS_TIMEOUT: Final = 5
PROJECT: Final = "cb0aabac34f94056886da98e490c9b67"
"""The project of the sample events that name none, such as those of Kubernetes."""
SETTLE_SECONDS: Final = 1
STOP_SECONDS: Final = 30.0
LISTENING: Final = "listening on "
_URL: Final = re.compile(r"http://[0-9.:]+/")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for the programs, and the guardian that ends the programs and removes the folder."""

    folder: Path
    guardian: Guardian

    @property
    def ledger_url(self) -> str:
        """The worker's ledger, a file in the folder."""
        return f"sqlite:///{self.folder}/ledger.db"

    @classmethod
    def made(cls, stack: AsyncExitStack) -> "Place":
        """Create both; they end when `stack` is closed."""
        folder = Path(tempfile.mkdtemp(prefix="snapshot-backup-up-"))
        guardian = Guardian(folder)
        stack.callback(guardian.close)
        return cls(folder, guardian)


@dataclass(frozen=True, slots=True)
class RunningEmulator:
    """The emulator's process, and a client for it."""

    child: Child
    api: Emulator


@dataclass(frozen=True, slots=True)
class Console:
    """The console's process, and the address of its page."""

    child: Child
    url: str


async def start_emulator(stack: AsyncExitStack, place: Place) -> RunningEmulator:
    """Start the emulator and return once it listens. Raises `ChildEnded`, `TimeoutError`."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_line(line: str) -> None:
        if line.startswith(LISTENING) and not listening.done():
            listening.set_result(line.removeprefix(LISTENING))

    arguments = ("infra.emulator", "--port", "0", "--settle", str(SETTLE_SECONDS))
    child = await Child.start(
        "emulator", arguments, guardian=place.guardian, folder=place.folder, on_line=on_line
    )
    stack.push_async_callback(child.stop, STOP_SECONDS)
    client = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
    return RunningEmulator(child, Emulator(await child.says(listening), client))


async def start_worker(
    stack: AsyncExitStack, place: Place, settings: Settings, endpoint: str, on_line: Callable[[str], None]
) -> Child:
    """Start a worker and return once it consumes. Raises `ChildEnded`, `TimeoutError`."""
    consuming: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_worker_line(line: str) -> None:
        if '"consume.started"' in line and not consuming.done():
            consuming.set_result(None)
        on_line(line)

    child = await Child.start(
        "worker",
        ("handler", "worker"),
        guardian=place.guardian,
        folder=place.folder,
        on_line=on_worker_line,
        settings=_worker_settings(settings, endpoint, place.ledger_url),
    )
    stack.push_async_callback(child.stop, STOP_SECONDS)
    await child.says(consuming)
    return child


async def start_console(stack: AsyncExitStack, place: Place, settings: Settings, endpoint: str) -> Console:
    """Start a console on a free port, and return once it listens. Raises `ChildEnded`, `TimeoutError`."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_line(line: str) -> None:
        if '"console.listening"' in line and (found := _URL.search(line)) and not listening.done():
            listening.set_result(found[0])

    child = await Child.start(
        "console",
        ("handler", "console"),
        guardian=place.guardian,
        folder=place.folder,
        on_line=on_line,
        settings=_worker_settings(settings, endpoint, place.ledger_url)
        | {"CONSOLE_ADDRESS": "127.0.0.1:0", "LOG_LEVEL": "INFO"},
    )
    stack.push_async_callback(child.stop, STOP_SECONDS)
    return Console(child, await child.says(listening))


def _worker_settings(settings: Settings, endpoint: str, ledger_url: str) -> dict[str, str]:
    """Return the worker's settings as environment variables."""
    files = {
        f"AMQP_{name}_FILE": str(file.resolve())
        for name, file in (
            ("CA", settings.amqp_ca_file),
            ("CERT", settings.amqp_cert_file),
            ("KEY", settings.amqp_key_file),
        )
        if file
    }
    return files | {
        "AMQP_URL": ",".join(url.get_secret_value() for url in settings.amqp_url),
        "SNAPSHOT_EXCHANGE": settings.snapshot_exchange,
        "SNAPSHOT_QUEUE": settings.snapshot_queue,
        "RESULT_EXCHANGE": settings.result_exchange,
        "QUEUE_TYPE": settings.queue_type,
        "VBS_ENDPOINT": endpoint,
        "VBS_AUTH": "none",
        "VBS_PROJECT_ID": PROJECT,
        "VBS_TIMEOUT": str(VBS_TIMEOUT),
        "WAIT_LADDER": ",".join(map(str, WAIT_LADDER)),
        "LEDGER_URL": ledger_url,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "DEBUG",  # logs the result of each message
    }
