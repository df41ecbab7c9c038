"""``Addresses``: the addresses of ``AMQP_URL``: at first a random one, and after a loss the next.

A host name stands for all addresses that it resolves to, looked up anew at each connect. If every worker
began at the first address, all would sit on one node, and return to it first after they have lost it.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from handler.amqp_url import AmqpUrl, parse_amqp_url
from handler.broker.connection import SETTING, BrokerConnection, Tls, open_address, parameters
from handler.causes import explain
from handler.errors import AccessRefused, ConnectionLost, SettingsError

_RESOLVE_TIMEOUT = 10.0
_NEXT_SECONDS = 3.0
"""After so long without an answer the next address is tried beside it: a paused node takes connections."""
_MOVES_SECONDS = 300.0
"""In this time a connection is given up for late answers once for each other address. Each time counts toward
the delivery limit of what is in hand, and where all nodes are slow another one does not help."""
_SELDOM_SECONDS = 3600.0
"""The same for refused messages: a full queue, which refuses them too, is full at every node."""


class _Address(NamedTuple):
    """One address: the part of ``AMQP_URL``, by its place there, and what its host resolves to."""

    place: int
    ip: str


class Addresses:
    """Connects to the addresses of ``AMQP_URL``; remembers which one was used last.

    ``moving`` says that a connection is given up where answers are overdue and another address exists.
    """

    def __init__(
        self,
        urls: Sequence[str],
        tls: Tls,
        *,
        moving: bool = False,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._urls = [parse_amqp_url(url) for url in urls]
        self._tls = tls
        self._moving = moving
        self._rng = rng or Random()  # noqa: S311 - spreads connections, keeps no secret
        self._clock = clock
        self._order: dict[_Address, float] = {}
        self._last = -1.0
        self._others = 0
        self._moves: deque[float] = deque()

    async def connect(self) -> BrokerConnection:
        """Connect to the next address that answers. Its errors' texts have no password.

        Raises:
            AccessRefused: each of them refuses the login or the virtual host.
            ConnectionLost: there is one that cannot be reached, or another reason.

        """
        found, problems = await self._resolve()
        self._others = len(found) - 1
        address, connection = await self._first(self._turn(found), problems)
        self._last = self._order[address]
        return connection

    def move(self, *, seldom: bool = False) -> bool:
        """Return whether to leave for another address now, and count it."""
        now = self._clock()
        while self._moves and now - self._moves[0] > _SELDOM_SECONDS:
            self._moves.popleft()
        window = _SELDOM_SECONDS if seldom else _MOVES_SECONDS
        if not self._moving or sum(now - each <= window for each in self._moves) >= self._others:
            return False
        self._moves.append(now)
        return True

    async def answer(self) -> bool:
        """Return whether another address takes a connection, which is closed again."""
        if not (self._moving and self._others):
            return False
        try:
            found, problems = await self._resolve()
            others = [address for address in self._turn(found) if self._order[address] != self._last]
            _, connection = await self._first(others, problems)
        except (ConnectionLost, SettingsError):
            return False
        await connection.close()
        return True

    def _turn(self, found: Sequence[_Address]) -> list[_Address]:
        """Return the addresses in a random order that stays, from the one after the last one used."""
        self._order = {address: self._order.get(address, self._rng.random()) for address in found}
        return sorted(found, key=lambda address: (self._order[address] <= self._last, self._order[address]))

    async def _resolve(self) -> tuple[list[_Address], list[ConnectionLost]]:
        """Return the addresses that all hosts resolve to, and the error of each host that does not."""
        looked_up = await asyncio.gather(*map(_ips, self._urls), return_exceptions=True)
        found: list[_Address] = []
        problems: list[ConnectionLost] = []
        for place, ips in enumerate(looked_up):
            if isinstance(ips, ConnectionLost):
                problems.append(ips)
            elif isinstance(ips, BaseException):
                raise ips
            else:
                found += [_Address(place, ip) for ip in ips]
        return found, problems

    async def _first(
        self, addresses: Sequence[_Address], problems: list[ConnectionLost]
    ) -> tuple[_Address, BrokerConnection]:
        """Connect to one after the other, and beside one that takes long; return the first that is made."""
        waiting = deque(addresses)
        running: set[asyncio.Task[tuple[_Address, BrokerConnection]]] = set()
        try:
            while waiting or running:
                if waiting:
                    running.add(asyncio.create_task(self._open(waiting.popleft())))
                limit = _NEXT_SECONDS if waiting else None
                ended, _ = await asyncio.wait(running, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    running.discard(task)
                    try:
                        return task.result()
                    except ConnectionLost as error:
                        problems.append(error)
        finally:
            await _end(running)
        raise _all_failed(problems)

    async def _open(self, address: _Address) -> tuple[_Address, BrokerConnection]:
        url = self._urls[address.place]
        where = f"{url.host}:{url.port}" + ("" if address.ip == url.host else f" at {address.ip}")
        return address, await open_address(parameters(url, self._tls, address.ip), where, self)


async def _ips(url: AmqpUrl) -> Sequence[str]:
    """Return all that a host resolves to. Raises ``ConnectionLost``."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT):
            found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ConnectionLost(
            f"{url.host}:{url.port}: no answer of the name service within {_RESOLVE_TIMEOUT:g} s"
        ) from None
    except OSError as error:
        raise ConnectionLost(f"{url.host}:{url.port}: {error}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _end(running: set["asyncio.Task[tuple[_Address, BrokerConnection]]"]) -> None:
    """End the attempts that are not needed any more, and close what one of them has made meanwhile."""
    for task in running:
        task.cancel()
    for result in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(result, tuple):
            await result[1].close()


def _all_failed(problems: Sequence[ConnectionLost]) -> ConnectionLost:
    """Return the error for a round without success: that of the login only where no other is left."""
    others = [each for each in problems if not isinstance(each, AccessRefused)]
    if not others:
        return problems[0] if problems else ConnectionLost("AMQP_URL names no broker")
    reason = "; ".join(dict.fromkeys(map(str, others)))
    cause, remedy = explain(SETTING, reason)
    return ConnectionLost(f"{cause}; {remedy}", reason)


async def connect(urls: Sequence[str], tls: Tls) -> BrokerConnection:
    """Connect once; see ``Addresses.connect``."""
    return await Addresses(urls, tls).connect()
