"""The emulator's HTTP server: uvicorn, with connections that can be cut."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from infra.emulator.app import create_app
from infra.emulator.settings import Settings
from infra.emulator.store import Store

Peer = tuple[str, int]


class Connections:
    """The open connections by the client's address, so that one can be cut, or answered byte for byte."""

    def __init__(self) -> None:
        self._open: dict[Peer, asyncio.Transport] = {}

    def of(self, scope: Scope) -> asyncio.Transport | None:
        """Return the connection of a call, or None if it is closed."""
        return self._open.get(tuple(scope["client"]))

    def protocol(self) -> type[asyncio.Protocol]:
        """Return a protocol class that records its connections here."""
        connections = self._open

        # The base class uses httptools if that is installed, else h11.
        class RecordedProtocol(AutoHTTPProtocol):  # type: ignore[valid-type,misc] # chosen at run time
            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                self.peer: Peer = transport.get_extra_info("peername")[:2]
                connections[self.peer] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                connections.pop(self.peer, None)
                super().connection_lost(exc)

        return RecordedProtocol


class Server(uvicorn.Server):
    """A uvicorn server that calls `ready` when it accepts connections."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, then call `ready`."""
        await super().startup(sockets)
        self._ready()


def make_server(settings: Settings, ready: Callable[[], None]) -> Server:
    """Build a server; start it with `run(sockets=[…])`, stop it with `should_exit = True`."""
    connections = Connections()
    config = uvicorn.Config(
        create_app(settings, connections.of, Store(time.time)),
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a forwarded address is not the address of the connection
        timeout_graceful_shutdown=1,
    )
    return Server(config, ready)


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 selects a free port."""
    listener = socket.create_server((host, port), backlog=2048)
    # asyncio sets this only on sockets it created; without it answers wait 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(settings: Settings, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` receives the base URL. Port 0 selects a free port."""
    with listen(host, port) as listener:
        url = f"http://{host}:{listener.getsockname()[1]}"
        server = make_server(settings, lambda: ready(url))
        # uvicorn raises the signal again after it has stopped; by then it needs no more effect.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        # Stopping the server ends hanging calls, which uvicorn would log as errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        server.run(sockets=[listener])
