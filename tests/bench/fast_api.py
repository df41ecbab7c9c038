"""A minimal API for benchmarks: it answers each create with the documented 202 after a fixed latency.

Run as ``python -m tests.bench.fast_api LATENCY_SECONDS``; prints its port.
"""

import asyncio
import sys

BODY = (
    b'{"backup":{"id":"54ba0e69-48a0-4a77-9cdf-a7979a7e2648","name":"backup1","links":['
    b'{"href":"https://volume.example.com/v2/p/backups/54ba0e69","rel":"self"},'
    b'{"href":"https://volume.example.com/p/backups/54ba0e69","rel":"bookmark"}]}}'
)
ANSWER = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY


class Create(asyncio.Protocol):
    """One connection; its requests come one after the other, since no client pipelines."""

    latency = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(body) < length:
            return
        self._seen = body[length:]
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve(latency: float) -> None:
    Create.latency = latency
    server = await asyncio.get_running_loop().create_server(Create, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
