"""A private broker that the modules of a test process share: a start costs five seconds of CPU."""

import os
from contextlib import ExitStack

from infra.local.server import RabbitProcess, running_server


class SpareBroker:
    """Lends a broker. One that a module has restarted, killed or configured is not lent again."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._server: RabbitProcess | None = None
        self._lent: object = None

    def lend(self) -> RabbitProcess:
        """Return a running broker with its defaults. Raises ``BrokerUnavailable``."""
        if self._server is None:
            self._server = self._resources.enter_context(running_server())
        self._lent = _state(self._server)
        return self._server

    def take_back(self) -> None:
        """Close the broker if it is not as it was lent; users and queues stay, with names of their own."""
        if self._server is not None and self._lent != (_state(self._server) or "gone"):
            self.close()

    def close(self) -> None:
        """Kill the broker."""
        self._resources.close()
        self._server = None


def _state(server: RabbitProcess) -> object:
    """Return what a restart or another configuration changes; None if it does not run."""
    try:
        os.kill(server.pid, 0)
        files = [path for path in server.folder.iterdir() if path.suffix in (".conf", ".config")]
        return server.pid, {path: path.read_bytes() for path in [*files, server.folder / "enabled_plugins"]}
    except OSError:
        return None
