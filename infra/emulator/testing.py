"""An emulator for the length of a test.

    with running_emulator(settle=0.1) as emulator:
        emulator.set_faults([{"route": "create", "effect": "drop_after", "times": 1}])
        ...
        assert 1 == len(emulator.backups())

In a thread by default, which starts in milliseconds; `process=True` gives it a process of its own, for load.
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


class Emulator:
    """A running emulator: where it is, and what tests ask of it. Each JSON is as control.py gives it."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url
        self._client = client

    def backups(self) -> list[dict[str, Any]]:
        """List every backup ever made, deleted ones too, oldest first."""
        return self._json("GET", "backups")  # type: ignore[no-any-return] # JSON

    def stats(self) -> dict[str, dict[str, int]]:
        """Give the calls so far: {route: {status: count}}; status "none" got no answer."""
        return self._json("GET", "stats")  # type: ignore[no-any-return] # JSON

    def set_faults(self, faults: Sequence[Mapping[str, object]]) -> None:
        """Put faults in force, in place of those before."""
        self._json("PUT", "faults", list(faults))

    def clear_faults(self) -> None:
        """End all faults."""
        self._json("DELETE", "faults")

    def declare_snapshots(self, snapshots: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
        """Make snapshots known: project_id, volume_id, and what else control.DeclaredSnapshot has."""
        return self._json("POST", "snapshots", list(snapshots))  # type: ignore[no-any-return] # JSON

    def snapshots(self) -> list[dict[str, Any]]:
        """List the snapshots known."""
        return self._json("GET", "snapshots")  # type: ignore[no-any-return] # JSON

    def reset(self) -> None:
        """Forget everything: backups, snapshots, faults, tokens and counts."""
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
    with running as url, httpx.Client(timeout=30, trust_env=False) as client:
        yield Emulator(url, client)


@contextmanager
def _in_thread(settings: Settings) -> Iterator[str]:
    ready = threading.Event()
    server = make_server(settings, ready.set)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator")
        thread.start()
        try:
            if not ready.wait(START_SECONDS):
                raise TimeoutError("the emulator did not start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _in_process(settings: Settings) -> Iterator[str]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "infra.emulator", "--port", "0", *_arguments(settings)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as child:
        try:
            line = child.stdout.readline() if child.stdout else ""
            if not line.startswith("listening on "):
                raise RuntimeError(f"the emulator did not start: {line!r}")
            yield line.split()[-1]
        finally:
            child.terminate()


def _arguments(settings: Settings) -> list[str]:
    """Write settings as the options of the command."""
    arguments: list[str] = []
    for name in Settings.__dataclass_fields__:
        value = getattr(settings, name)
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments.append(f"{option}={value}")
    return arguments
