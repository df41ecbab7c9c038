"""The check of a worker whether its outcomes are routable: soon after the start, and while they are not."""

import asyncio
import contextlib

from handler.broker.outbox import BrokerOutbox
from handler.broker.routes import Routes
from handler.errors import BrokerError

_FIRST_SECONDS = 3.0
"""An outcome that is published so soon answers the question; then no consumer sees a probe."""

_SECONDS = 5.0


async def keep_routes(outbox: BrokerOutbox, routes: Routes) -> None:
    """Ask by a probe if no outcome was published yet, and every few seconds while outcomes are unroutable.

    A waiting outcome that tries the route is the better probe: while there is one, no other is sent.
    """
    await asyncio.sleep(_FIRST_SECONDS)
    while True:
        if routes.unknown or (routes.missing and not routes.tried):
            with contextlib.suppress(BrokerError):
                await outbox.check_routes()
        await asyncio.sleep(_SECONDS)
