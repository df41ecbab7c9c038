"""Run an emulator within a test.

    with running_emulator(settle=0.1) as emulator:
        emulator.set_faults([{"route": "create", "effect": "drop_after", "times": 1}])
        ...
        assert 1 == len(emulator.backups())

It runs in a thread, which starts in milliseconds; `process=True` gives it its own process, for load tests.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from infra.emulator.server import listen, make_server
from infra.emulator.settings import Settings

START_SECONDS = 30.0
LISTENING = "listening on "


class Emulator:
    """A running emulator: its URL and its control calls, with JSON as in control.py."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self._client = client

    def backups(self) -> list[dict[str, Any]]:
        """List all backups ever made, including deleted ones, oldest first."""
        return self._json("GET", "backups")  # type: ignore[no-any-return] # JSON

    def count_backups(self) -> int:
        """Count the backups ever made, deleted ones too."""
        return self._json("GET", "counts")["backups"]  # type: ignore[no-any-return] # JSON

    def most_in_progress(self) -> int:
        """Return the greatest number of backups that were in progress at once."""
        return self._json("GET", "counts")["most_in_progress"]  # type: ignore[no-any-return] # JSON

    def stats(self) -> dict[str, dict[str, int]]:
        """Return the counts of calls: {route: {status: count}}; status "none" means no answer."""
        return self._json("GET", "stats")  # type: ignore[no-any-return] # JSON

    def set_faults(self, faults: Sequence[Mapping[str, object]]) -> None:
        """Replace all faults."""
        self._json("PUT", "faults", list(faults))

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._json("DELETE", "faults")

    def declare_snapshots(self, snapshots: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
        """Declare snapshots: project_id, volume_id and the optional fields of control.DeclaredSnapshot."""
        return self._json("POST", "snapshots", list(snapshots))  # type: ignore[no-any-return] # JSON

    def snapshots(self) -> list[dict[str, Any]]:
        """List all known snapshots."""
        return self._json("GET", "snapshots")  # type: ignore[no-any-return] # JSON

    def reset(self) -> None:
        """Delete everything: backups, snapshots, faults, tokens and counts."""
        self._json("POST", "reset")

    def _json(self, method: str, name: str, body: object = None) -> Any:
        answer = self._client.request(method, f"{self.url}/_emulator/{name}", json=body)
        if answer.is_error:
            raise ValueError(f"{method} {name}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


@contextmanager
def running_emulator(*, process: bool = False, **options: Any) -> Iterator[Emulator]:
    """Run an emulator on a free loopback port; `options` are the fields of Settings."""
    settings = Settings(**options)
    running = _in_process(settings) if process else _in_thread(settings)
    with running as line, connected(line) as emulator:
        yield emulator


@contextmanager
def connected(line: str) -> Iterator[Emulator]:
    """Connect to the emulator that printed this line. Raises ``RuntimeError`` if the line names no URL."""
    if not line.startswith(LISTENING):
        raise RuntimeError(f"the emulator did not start; it printed {line!r} instead of its URL")
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield Emulator(line.split()[-1], client)


@contextmanager
def _in_thread(settings: Settings) -> Iterator[str]:
    ready = threading.Event()
    server = make_server(settings, ready.set)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator")
        thread.start()
        try:
            if not ready.wait(START_SECONDS):
                raise TimeoutError(f"the emulator did not start within {START_SECONDS:g} s")
            yield f"{LISTENING}http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _in_process(settings: Settings) -> Iterator[str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "infra.emulator", "--port", "0", *to_arguments(settings)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as child:
        try:
            yield child.stdout.readline() if child.stdout else ""
        finally:
            child.terminate()


def to_arguments(settings: Settings) -> list[str]:
    """Return settings as options of the emulator's command."""
    arguments: list[str] = []
    for name in Settings.__dataclass_fields__:
        value = getattr(settings, name)
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments.append(f"{option}={value}")
    return arguments
