"""A worker process without its parts: ``python -m tests.unit.supervisor.small_worker KIND``, and more.

``serves`` answers the supervisor until SIGTERM or the end of the channel, ``crashes`` ends with exit code 1.
"""

import asyncio
import signal
import sys

from handler.status.server import healthy
from handler.supervisor.channel import answering
from handler.supervisor.child import Membership


async def _serve(membership: Membership) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with answering(membership.socket, {"/healthz": healthy}, stop.set):
        await stop.wait()


def main() -> None:
    """Run the worker process."""
    kind, command, option, membership = sys.argv[1:]
    assert ("worker", "--supervised") == (command, option)
    if kind == "crashes":
        sys.exit(1)
    asyncio.run(_serve(Membership.parse(membership)))


if __name__ == "__main__":
    main()
