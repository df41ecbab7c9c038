"""Unit tests of ``TcpProxy``, which other tests use to break connections, over real sockets."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.proxy import TcpProxy


def _echo(listener: socket.socket) -> None:
    """Send received bytes back on each connection, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_echo_one, args=(connection,), daemon=True).start()


def _echo_one(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(1024):
            connection.sendall(data)


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    """Yield a proxy in front of an echo server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_echo, args=(listener,))
        thread.start()
        with TcpProxy(*listener.getsockname()) as proxy:
            yield proxy
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[socket.socket]:
    """Yield a client that has already sent bytes through the proxy."""
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        assert b"first" == _round_trip(client, b"first")
        yield client


def _round_trip(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(1024)


def test_the_proxy_forwards_both_ways(client: socket.socket) -> None:
    """Without a fault, the proxy forwards bytes in both directions."""
    assert b"hello" == _round_trip(client, b"hello")


def test_cut_resets_open_connections_and_lets_new_ones_in(proxy: TcpProxy, client: socket.socket) -> None:
    """After ``cut_all``, the open connection is reset, and a new one works."""
    proxy.cut_all()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as second:
        assert b"again" == _round_trip(second, b"again")


def test_swallow_keeps_the_connection_and_loses_the_bytes(proxy: TcpProxy, client: socket.socket) -> None:
    """While ``swallow`` is on, the connection stays open but no bytes arrive; afterwards it works."""
    proxy.swallow(True)
    client.settimeout(0.1)

    with pytest.raises(TimeoutError):
        _round_trip(client, b"lost")

    proxy.swallow(False)
    client.settimeout(5)
    assert b"heard" == _round_trip(client, b"heard")


def test_delay_holds_data_back_in_each_direction(proxy: TcpProxy, client: socket.socket) -> None:
    """With ``delay``, a round trip takes the delay twice."""
    proxy.delay(0.1)
    start = time.monotonic()

    _round_trip(client, b"slow")

    assert time.monotonic() - start >= 0.2


def test_refuse_turns_new_connections_away_and_keeps_open_ones(
    proxy: TcpProxy, client: socket.socket
) -> None:
    """While ``refuse`` is on, new connections are reset, and open ones work."""
    proxy.refuse(True)

    assert _is_turned_away(proxy)
    assert b"still" == _round_trip(client, b"still")


def test_a_target_that_is_down_looks_like_a_refusal() -> None:
    """If the target is down, the proxy closes the client's connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with TcpProxy(*address) as proxy:
        assert _is_turned_away(proxy)


def _is_turned_away(proxy: TcpProxy) -> bool:
    """Return whether a new connection is closed unused; the reset may arrive while connecting."""
    try:
        with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
            return not client.recv(1)
    except ConnectionResetError:
        return True
