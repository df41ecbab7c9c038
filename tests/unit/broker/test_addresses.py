"""The addresses of a broker: where a program connects first, and where after a loss."""

import asyncio
import socket
import time
from collections import Counter
from random import Random
from typing import Any

import pytest
from pika import spec

from handler.broker import addresses
from handler.broker.addresses import Addresses, connect
from handler.broker.connection import BrokerConnection, Tls
from handler.errors import AccessRefused, ConnectionLost
from infra.local.server import free_ports
from tests.twins.amqp import AmqpTwin, Refusal

LOGIN = Refusal(spec.Connection.StartOk, 403, "ACCESS_REFUSED - Login was refused using PLAIN")


async def _port(found: Addresses) -> int:
    """Connect, and return the port that it was."""
    async with await found.connect() as connection:
        return int(connection.where.split()[0].rpartition(":")[2])


def test_programs_start_at_all_addresses_alike(rng: Random) -> None:
    """Of 60 programs each of three addresses gets a fair part at their start."""

    async def run() -> Counter[int]:
        async with AmqpTwin() as one, AmqpTwin() as two, AmqpTwin() as three:
            urls = [one.url, two.url, three.url]
            return Counter([await _port(Addresses(urls, Tls(), rng=rng)) for _ in range(60)])

    shares = asyncio.run(run())
    assert 3 == len(shares)
    assert min(shares.values()) >= 8


def test_after_a_loss_the_next_address_is_tried(rng: Random) -> None:
    """Three connections in a row go to three addresses, and the fourth to the first of them again."""

    async def run() -> list[int]:
        async with AmqpTwin() as one, AmqpTwin() as two, AmqpTwin() as three:
            found = Addresses([one.url, two.url, three.url], Tls(), rng=rng)
            return [await _port(found) for _ in range(6)]

    ports = asyncio.run(run())
    assert 3 == len(set(ports[:3]))
    assert ports[:3] == ports[3:]


def test_an_address_that_is_down_costs_no_time(rng: Random) -> None:
    """Wherever the program begins, it connects to the one address that is up."""

    async def run() -> None:
        async with AmqpTwin() as up:
            down = [f"amqp://127.0.0.1:{port}/" for port in free_ports(2)]
            for _ in range(10):
                assert up.port == await _port(Addresses([*down, up.url], Tls(), rng=rng))

    asyncio.run(asyncio.wait_for(run(), 5))


def test_an_address_that_takes_connections_and_says_nothing_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A paused node takes connections: the next address is tried beside it, and what is left is closed."""
    monkeypatch.setattr(addresses, "_NEXT_SECONDS", 0.3)

    async def run() -> float:
        async with AmqpTwin(mute=True) as paused, AmqpTwin() as up:
            began = time.monotonic()
            for seed in range(4):
                assert up.port == await _port(Addresses([paused.url, up.url], Tls(), rng=Random(seed)))
            assert 0 < paused.connections < 4
            return time.monotonic() - began

    assert asyncio.run(run()) < 8


def test_a_slow_address_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other address answers, the first one may take its time."""
    monkeypatch.setattr(addresses, "_NEXT_SECONDS", 0.2)

    async def run() -> None:
        async with AmqpTwin(mute=True) as slow:
            [down] = free_ports(1)
            found = Addresses([slow.url, f"amqp://127.0.0.1:{down}/"], Tls(), rng=Random(0))
            connecting = asyncio.create_task(found.connect())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(connecting), 1)
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)

    asyncio.run(run())


def test_a_name_is_all_its_addresses(monkeypatch: pytest.MonkeyPatch, rng: Random) -> None:
    """A name that resolves to two addresses is both: the program goes to the other one after a loss."""

    async def resolve(_loop: object, host: str, port: int, **_: Any) -> list[Any]:
        ips = ["127.0.0.1", "127.0.0.2"] if host == "broker.example" else [host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ips]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)

    async def run() -> None:
        async with AmqpTwin() as one, AmqpTwin(host="127.0.0.2", port=one.port) as two:
            found = Addresses([f"amqp://broker.example:{one.port}/"], Tls(), rng=rng)
            for _ in range(4):
                await _port(found)
            assert (2, 2) == (one.connections, two.connections)

    asyncio.run(run())


@pytest.mark.parametrize("up", [True, False])
def test_an_attempt_given_up_at_any_moment_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, up: bool
) -> None:
    """Whenever connecting is cancelled, no connection stays open, and no error is logged by asyncio."""

    async def resolve(_loop: object, host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)

    async def give_up(url: str, iterations: int) -> bool:
        connecting = asyncio.create_task(connect([url], Tls()))
        for _ in range(iterations):
            await asyncio.sleep(0)
        connecting.cancel()
        [result] = await asyncio.gather(connecting, return_exceptions=True)
        if not isinstance(result, BrokerConnection):
            return False
        await result.close()
        return True

    async def run() -> None:
        async with AmqpTwin() as twin:
            url = twin.url if up else f"amqp://127.0.0.1:{free_ports(1)[0]}/"
            made = [await give_up(url, iterations) for iterations in range(80)]
            assert {False, up} == set(made), "the last attempts come to their end, the first do not"
            async with asyncio.timeout(10):
                await twin.deserted()

    asyncio.run(run())

    assert [] == [each.getMessage() for each in caplog.records if each.name == "asyncio"]


def test_all_failures_of_a_round_are_named() -> None:
    """If no address can be reached, the error names each and the setting to check, without a password."""
    ports = free_ports(2)
    urls = [f"amqp://user:s3cret@127.0.0.1:{port}/" for port in ports]
    with pytest.raises(ConnectionLost) as lost:
        asyncio.run(connect(urls, Tls()))
    assert all(f"127.0.0.1:{port}" in str(lost.value) for port in ports)
    assert str(lost.value).startswith("connection refused: no program listens on this port (")
    assert str(lost.value).endswith("); AMQP_URL: check host and port, and that the server is running")
    assert "s3cret" not in str(lost.value)


@pytest.mark.parametrize("seed", range(3))
def test_a_refused_login_counts_only_where_all_addresses_refuse_it(seed: int) -> None:
    """While one address is down, a login that another refuses is no wrong setting."""

    async def run() -> None:
        async with AmqpTwin(refusals=[LOGIN]) as one, AmqpTwin(refusals=[LOGIN]) as two:
            with pytest.raises(AccessRefused, match="AMQP_URL: the server refused user and password"):
                await Addresses([one.url, two.url], Tls(), rng=Random(seed)).connect()
            down = f"amqp://127.0.0.1:{free_ports(1)[0]}/"
            with pytest.raises(ConnectionLost) as lost:
                await Addresses([one.url, down], Tls(), rng=Random(seed)).connect()
            assert not isinstance(lost.value, AccessRefused)

    asyncio.run(run())


def test_moves_are_few(rng: Random) -> None:
    """A connection is given up for late answers once for each other address in five minutes."""
    now = [1_000.0]

    async def run() -> None:
        async with AmqpTwin() as one, AmqpTwin() as two, AmqpTwin() as three:
            urls = [one.url, two.url, three.url]
            found = Addresses(urls, Tls(), moving=True, rng=rng, clock=lambda: now[0])
            await _port(found)
            assert [True, True, False, False] == [found.move() for _ in range(4)]
            now[0] += 301
            assert [True, True, False] == [found.move() for _ in range(3)]
            now[0] += 301
            assert not found.move(seldom=True), "of refused messages, once for each other address in an hour"
            now[0] += 3600
            assert [True, True, False] == [found.move(seldom=True) for _ in range(3)]
            assert not Addresses(urls, Tls(), rng=rng).move()

    asyncio.run(run())


def test_whether_another_address_answers(rng: Random) -> None:
    """Another address than the one in use is asked, and left again; without one that may be used, none is."""

    async def run() -> None:
        async with AmqpTwin() as one, AmqpTwin() as two:
            found = Addresses([one.url, two.url], Tls(), moving=True, rng=rng)
            async with await found.connect() as connection:
                used = one if connection.where.endswith(str(one.port)) else two
                other = two if used is one else one
                assert await found.answer()
                await other.deserted()
                assert (1, 1) == (used.connections, other.connections)
                assert not connection.closed.done()
            lone = Addresses([used.url], Tls(), moving=True, rng=rng)
            staying = Addresses([one.url, two.url], Tls(), rng=rng)
            for each in (lone, staying):
                await _port(each)
                assert not await each.answer()
        down = f"amqp://127.0.0.1:{free_ports(1)[0]}/"
        async with AmqpTwin() as up:
            half = Addresses([up.url, down], Tls(), moving=True, rng=rng)
            assert up.port == await _port(half)
            assert not await half.answer()
            assert 1 == up.connections

    asyncio.run(run())
