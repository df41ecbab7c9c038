"""Benchmark of the create call alone: CPU and calls per second over each transport.

Run it as ``python -m tests.bench.transports``. It is one process with a fast API, without broker and ledger.
``post`` is ``client.post`` over our pool, ``pool`` the program's own client over it, ``httpx`` the same
client over httpx's own transport, as without the extra ``fast``. ``--sign-in`` signs the calls of the
program's client.
"""

import argparse
import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import httpx

from handler.backup.request import BackupRequest
from handler.settings import Settings
from handler.vbs.auth.aksk import AkSkAuth
from handler.vbs.auth.keys import Keys
from handler.vbs.auth.token import TokenAuth
from handler.vbs.client import VbsClient
from handler.vbs.transport import http
from tests.bench.throughput import fast_api

PROJECT: Final = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
REQUEST: Final = BackupRequest(
    volume_id=str(uuid.uuid4()), snapshot_id=str(uuid.uuid4()), name=f"nightly-{uuid.uuid4()}"
)

SIGN_INS: Final[Mapping[str, httpx.Auth | None]] = {
    "none": None,
    "token": TokenAuth("gAAAAA" + "t" * 180),
    "keys": AkSkAuth(Keys("AK", "SK", "s" * 400)),
}

Call = Callable[[], Awaitable[object]]


def make(kind: str, endpoint: str, in_flight: int, auth: httpx.Auth | None) -> tuple[httpx.AsyncClient, Call]:
    """Return a client and the call that is measured."""
    http._fast = kind != "httpx"
    client = http.http_client(Settings(_env_file=None, concurrency=in_flight))
    if kind == "post":
        url = f"{endpoint}/v2/{PROJECT}/backups"
        return client, lambda: client.post(url, json={"backup": {"volume_id": "v", "name": "n"}})
    api = VbsClient(client, endpoint, auth=auth)
    return client, lambda: api.create(PROJECT, REQUEST)


async def measure(
    kind: str, endpoint: str, calls: int, in_flight: int, auth: httpx.Auth | None
) -> tuple[float, float]:
    """Return calls per second, and milliseconds of CPU for each."""
    client, call = make(kind, endpoint, in_flight, auth)
    async with client:
        await call()  # until a signature is accepted, the others wait
        await _all(call, in_flight * 4, in_flight)
        began, cpu = time.perf_counter(), time.process_time()
        await _all(call, calls, in_flight)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return calls / seconds, 1000 * used / calls


async def _all(call: Call, calls: int, in_flight: int) -> None:
    async def some() -> None:
        for _ in range(calls // in_flight):
            await call()

    await asyncio.gather(*(some() for _ in range(in_flight)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--kinds", nargs="*", default=["pool", "post", "httpx"])
    parser.add_argument("--sign-in", choices=SIGN_INS, default="none")
    arguments = parser.parse_args()
    with fast_api(0.0) as endpoint:
        for kind in arguments.kinds:
            taken = [
                asyncio.run(
                    measure(kind, endpoint, arguments.calls, arguments.in_flight, SIGN_INS[arguments.sign_in])
                )
                for _ in range(arguments.rounds)
            ]
            rate, cpu = (statistics.median(each[field] for each in taken) for field in (0, 1))
            print(f"{kind:<6} {rate:>7.0f} calls/s  {cpu:.3f} ms CPU", flush=True)


if __name__ == "__main__":
    main()
