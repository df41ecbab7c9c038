"""An HTTP proxy: it answers plain requests itself, and tunnels every ``CONNECT`` to one port."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 65_536


@dataclass
class HttpProxy:
    """The proxy's port, and the method, target and login of each request as they were sent."""

    port: int = 0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def http_proxy(*, answer: bytes = b"{}", tunnel_to: int = 0, status: int = 200) -> Iterator[HttpProxy]:
    """Listen on a free loopback port. ``status`` answers each request; 200 opens tunnels."""
    proxy = HttpProxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._note()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815 - http.server wants this name

        def do_CONNECT(self) -> None:
            self._note()
            self.close_connection = True
            self.send_response(status)
            self.end_headers()
            if status == 200:
                with socket.create_connection(("127.0.0.1", tunnel_to)) as server:
                    _join(self.connection, server)

        def _note(self) -> None:
            proxy.asked.append((self.command, self.path, self.headers["Proxy-Authorization"]))

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="http-proxy")
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _join(one: socket.socket, other: socket.socket) -> None:
    """Copy both ways until both sides have ended."""
    back = threading.Thread(target=_copy, args=(other, one))
    back.start()
    _copy(one, other)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
