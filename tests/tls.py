"""TLS for servers without TLS: self-signed certificates, and a front that terminates TLS."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.settings_names import program

CHUNK = 65_536
START_SECONDS = 10


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate, which is its own authority, and its key."""

    certificate: Path
    key: Path


def make_certificate(folder: Path, subject: str) -> Certificate:
    """Create a certificate for a subject such as ``IP:127.0.0.1`` or ``DNS:broker.example.com``."""
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=test", "-addext", f"subjectAltName={subject}"]
    command = [program("openssl"), "req", "-x509", "-days", "2", *curve, *files, *names]
    subprocess.run(command, check=True, capture_output=True)
    return made


@contextmanager
def tls_front(port: int, certificate: Certificate, clients: Certificate | None = None) -> Iterator[int]:
    """Listen with TLS on a free loopback port, forward to the server on ``port``, and yield the free port.

    With ``clients`` it accepts only connections that present this certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if clients:
        context.load_verify_locations(clients.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate.certificate, certificate.key)
    ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(port, context, ready)), name="tls-front")
    thread.start()
    front, loop, end = ready.result(START_SECONDS)
    try:
        yield front
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


async def _serve(
    port: int, context: ssl.SSLContext, ready: "Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]"
) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        with contextlib.closing(writer), contextlib.closing(back):
            pipes = {asyncio.create_task(_pipe(reader, back)), asyncio.create_task(_pipe(there, writer))}
            _, other = await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in other:
                pipe.cancel()
            await asyncio.gather(*other, return_exceptions=True)

    loop, end = asyncio.get_running_loop(), asyncio.Event()
    # Some tests have clients that refuse the certificate; their errors are expected.
    loop.set_exception_handler(lambda *_: None)
    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    ready.set_result((server.sockets[0].getsockname()[1], loop, end))
    await end.wait()
    server.close()
    for each in writers:
        if not each.is_closing():  # before Python 3.11.3, a closed transport must not be aborted
            each.transport.abort()
    await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
