"""The console's HTTP server: uvicorn, at ``CONSOLE_ADDRESS``, until it is stopped."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn

from handler.console.web.app import create_app
from handler.console.web.site import Site
from handler.errors import SettingsError
from handler.loopback import is_loopback
from handler.settings import Settings

_CONNECTIONS = 100
_DRAIN_SECONDS = 5


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its caller, who has work of its own to finish."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def check_address(settings: Settings) -> tuple[str, int]:
    """Return host and port. Raises ``SettingsError`` where others could come in, or act, without a token."""
    host, _, port = settings.console_address.rpartition(":")
    host = host.strip("[]")
    if settings.console_token is None and not (host and is_loopback(host)):
        raise SettingsError(
            f"CONSOLE_TOKEN: not set, and CONSOLE_ADDRESS={settings.console_address} can be reached from "
            "other machines; set a token (openssl rand -hex 32 makes one), or CONSOLE_ADDRESS=127.0.0.1:8090"
        )
    _check_read_token(settings)
    return host, int(port)


def _check_read_token(settings: Settings) -> None:
    if settings.console_read_token is None:
        return
    if settings.console_token is None:
        raise SettingsError(
            "CONSOLE_READ_TOKEN: set without CONSOLE_TOKEN, so that none could act; set CONSOLE_TOKEN too "
            "(openssl rand -hex 32 makes a token)"
        )
    if settings.console_read_token == settings.console_token:
        raise SettingsError(
            "CONSOLE_READ_TOKEN: is the same as CONSOLE_TOKEN; set another (openssl rand -hex 32 makes one)"
        )


def listen(settings: Settings) -> socket.socket:
    """Open the listening socket. Raises ``SettingsError``."""
    host, port = check_address(settings)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise SettingsError(
            f"CONSOLE_ADDRESS: cannot listen on {settings.console_address} ({error.strerror}); set another "
            "one, such as CONSOLE_ADDRESS=127.0.0.1:8091"
        ) from None
    # asyncio sets this only on sockets it created; without it answers wait 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def serve(site: Site, listener: socket.socket, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve until ``stop`` is set; ``ready`` is called when requests are accepted."""
    config = uvicorn.Config(
        create_app(site),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a forwarded address is not the address of the connection
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    # An error within the program is logged by the application; uvicorn would log it once more.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    server = _Server(config)

    async def stopping() -> None:
        await stop.wait()
        server.should_exit = True

    task = asyncio.create_task(stopping())
    ready()  # the socket listens already: what connects now is answered in a moment
    try:
        await server.serve(sockets=[listener])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
