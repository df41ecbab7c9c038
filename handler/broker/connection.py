"""pika's asyncio adapter made awaitable: a connection, and channels whose calls can be awaited.

One event loop owns the connection. When the channel or the connection is lost, every call that waits for an
answer of the broker raises, so that none waits for ever.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError, NoFreeChannels

from handler.amqp_url import EXAMPLE, AmqpUrl
from handler.broker.content_header import use_tolerant_decoder
from handler.broker.liveness import Liveness
from handler.broker.product import Product, product
from handler.broker.stream import IoServices
from handler.causes import Setting, explain
from handler.errors import AccessRefused, ConnectionLost
from handler.tls_files import present, trusting

log = logging.getLogger(__name__)
T = TypeVar("T")

HEARTBEAT = 6
"""Seconds. Load balancers cut idle connections; a silent broker is given up after twice this time. A broker
that proposes less gets that. RabbitMQ advises against less than 5."""
CHANNELS = 8
"""Channels of a connection at most: to consume, publish outcomes, publish others, return parked ones, and for
what goes on beside (bindings, checks of the topology, the sweep)."""

SETTING = Setting("AMQP_URL", "AMQP_CA_FILE", "AMQP_CERT_FILE, AMQP_KEY_FILE")
_REFUSED = r"Login was refused|vhost .* not found|access to vhost .* refused for user '[^']*'\W*$"
"""What RabbitMQ says of a wrong login or virtual host; it refuses in other words where a limit is reached."""

_CONNECT_TIMEOUT = 15.0
_CLOSE_TIMEOUT = 2.0
_CALL_TIMEOUT = 15.0
_GIVE_UP_TIMEOUT = 1.0
_TCP_OPTIONS = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}
"""The kernel gives up a dead link within 14 s too, where ``AMQP_URL`` switches heartbeats off. No
``TCP_USER_TIMEOUT``: it would end the connection to a broker that reads nothing, as in an alarm."""


class ChannelClosed(ConnectionLost):
    """The broker closed a channel; ``code`` is its AMQP reply code, such as 404 or 406."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Tls(NamedTuple):
    """PEM files for TLS: the CAs to trust, and the client's certificate with its key."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return an SSL context that checks the broker's name. Raises ``SettingsError`` for a bad file."""
        context = trusting("AMQP_CA_FILE", self.ca_file)
        if self.cert_file and self.key_file:
            present(context, ("AMQP_CERT_FILE", "AMQP_KEY_FILE"), self.cert_file, self.key_file)
        return context


def parameters(url: AmqpUrl, tls: Tls, ip: str | None = None) -> pika.ConnectionParameters:
    """Return pika's parameters for one address; ``ip`` is what its host resolves to.

    A heartbeat in the URL (``?heartbeat=``) stays.
    """
    options = {"heartbeat": _heartbeat, "tcp_options": _TCP_OPTIONS, **url.options}
    # pika's limit for the whole stack must not end what a longer limit for the socket allows.
    options.setdefault("stack_timeout", max(_CONNECT_TIMEOUT, options.get("socket_timeout", 0)))
    if url.tls:
        options["ssl_options"] = pika.SSLOptions(tls.context(), url.server_name or url.host)
    return pika.ConnectionParameters(
        host=ip or url.host,
        port=url.port,
        virtual_host=url.vhost,
        credentials=pika.PlainCredentials(url.user, url.password),
        client_properties={"connection_name": "snapshot-backup", "product": "snapshot-backup"},
        **options,
    )


def _heartbeat(_connection: object, proposed: float) -> int:
    """Return the heartbeat to agree on; a broker that proposes 0 sends none by itself."""
    return min(int(proposed), HEARTBEAT) if proposed else HEARTBEAT


class Channel:
    """A channel whose calls are awaited. ``raw`` is pika's channel, for calls that need no answer."""

    def __init__(self, raw: Any, liveness: Liveness, services: IoServices) -> None:
        self.raw = raw
        self.liveness = liveness
        self._services = services
        self.closed: asyncio.Future[ChannelClosed] = asyncio.get_running_loop().create_future()
        self._calls: set[asyncio.Future[Any]] = set()
        raw.add_on_close_callback(self._on_closed)

    @property
    def number(self) -> int:
        """The number in each of its frames."""
        return int(self.raw.channel_number)

    @property
    def frame_max(self) -> int:
        """The largest frame, in bytes, that was agreed with the broker."""
        return int(self.raw.connection.params.frame_max)

    def write(self, frames: bytes) -> None:
        """Send whole frames. Raises ``ChannelClosed`` where the channel is being closed."""
        if not self.raw.is_open:
            raise ChannelClosed("the channel is being closed")
        self._services.write(frames)

    async def call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call one of ``raw``'s methods and return the broker's answer. Raises ``ChannelClosed``."""
        if self.closed.done():
            raise self.closed.result()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.add(answer)
        try:
            method(callback=lambda frame: _settle(answer, frame), **arguments)
            async with asyncio.timeout(_CALL_TIMEOUT):
                return await answer
        except TimeoutError:
            # A quorum queue without a leader does not answer; the next try uses a new channel.
            self._abandon()
            raise ChannelClosed(f"no answer within {_CALL_TIMEOUT:g} s") from None
        except AMQPError as error:
            raise ChannelClosed(str(error)) from error
        finally:
            self._calls.discard(answer)

    async def close(self) -> None:
        """Close the channel where it is still open, and wait for the broker, but not for a silent one."""
        if not self.closed.done() and self.raw.is_open:
            self.raw.close()
            await asyncio.wait({self.closed}, timeout=_CLOSE_TIMEOUT)

    def _abandon(self) -> None:
        """Close the channel without waiting for the broker, which does not answer."""
        if self.raw.is_open:
            self.raw.close()
        self._on_closed(self.raw, TimeoutError("the broker does not answer"))

    def _on_closed(self, _raw: object, reason: Exception) -> None:
        text = getattr(reason, "reply_text", "") or str(reason)
        lost = ChannelClosed(text, getattr(reason, "reply_code", 0) or 0)
        if not self.closed.done():
            self.closed.set_result(lost)
        for call in self._calls:
            if not call.done():
                call.set_exception(lost)


class Others(Protocol):
    """The other addresses of the broker; see ``handler.broker.addresses.Addresses``."""

    def move(self, *, seldom: bool = False) -> bool:
        """Return whether to leave for another address now, and count it."""

    async def answer(self) -> bool:
        """Return whether another address takes a connection."""


class BrokerConnection:
    """A connection to the broker. ``closed`` holds the reason once the connection is lost."""

    def __init__(
        self,
        raw: AsyncioConnection,
        closed: asyncio.Future[ConnectionLost],
        where: str,
        others: Others,
        services: IoServices,
    ) -> None:
        self._others = others
        self._services = services
        self.raw = raw
        self.where = where
        self.closed = closed
        self.liveness = Liveness(
            lambda: raw.bytes_received,
            self._lose,
            silent=2 * _agreed_heartbeat(raw),
            move=others.move,
            compare=self._compare,
        )
        self.liveness.start()
        closed.add_done_callback(lambda _: self.liveness.stop())
        raw.add_on_connection_blocked_callback(lambda *_: self._block(blocked=True))
        raw.add_on_connection_unblocked_callback(lambda *_: self._block(blocked=False))

    async def channel(self) -> Channel:
        """Open a channel. Raises ``ConnectionLost``."""
        if self.closed.done():
            raise self.closed.result()
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

        try:
            self.raw.channel(
                on_open_callback=lambda raw: _settle(opened, Channel(raw, self.liveness, self._services))
            )
        except NoFreeChannels as error:
            raise ConnectionLost(
                f"a connection may have {self.raw.params.channel_max} channels and needs {CHANNELS}: raise "
                f"channel_max in rabbitmq.conf, or in AMQP_URL"
            ) from error
        except AMQPError as error:
            raise ConnectionLost(str(error)) from error
        ends: set[asyncio.Future[Any]] = {opened, self.closed}
        self.liveness.expect(opened, "a channel")
        try:
            await asyncio.wait(ends, timeout=_CALL_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.liveness.answered(opened)
        if opened.done():
            return opened.result()
        opened.cancel()
        if self.closed.done():
            raise self.closed.result()
        raise ConnectionLost(f"no channel within {_CALL_TIMEOUT:g} s")

    async def close(self) -> None:
        """Send what was written, close the connection, and wait until it is closed."""
        if not self.closed.done():
            if self.raw.is_open:
                self.raw.close()
            await asyncio.wait({self.closed}, timeout=_CLOSE_TIMEOUT)

    async def drop(self) -> None:
        """Close the socket without the AMQP close, since the broker does not answer."""
        if not self.closed.done():
            self._lose("the broker does not answer")
            await self.closed

    def leave(self, reason: str) -> None:
        """Give the connection up for another address, once an hour for each other one."""
        if not self.closed.done() and not self.blocked and self._others.move(seldom=True):
            self._lose(f"{reason}; another address is tried")

    async def _compare(self) -> bool:
        """Ask for a channel, whose answer is a byte, and return whether another address answers."""
        try:
            self.raw.channel(on_open_callback=lambda raw: raw.close())
        except AMQPError:  # no channel is left to ask for
            return False
        return await self._others.answer()

    def _lose(self, reason: str) -> None:
        """Give the connection up. pika's close waits for an answer; it has no public close without one."""
        self.raw._terminate_stream(ConnectionLost(reason))  # noqa: SLF001

    @property
    def blocked(self) -> bool:
        """Whether the broker blocks publishers."""
        return self.liveness.blocked

    @property
    def frame_max(self) -> int:
        """The largest frame, in bytes, that was agreed with the broker."""
        return int(self.raw.params.frame_max)

    @property
    def product(self) -> Product:
        """The broker's product and version, from its server properties."""
        return product(self.raw.server_properties or {})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _block(self, *, blocked: bool) -> None:
        self.liveness.blocked = blocked
        log.warning(
            "the broker %s",
            "blocks this connection (memory or disk alarm); publishes wait"
            if blocked
            else "unblocks this connection; publishes go on",
            extra={"action": "broker.blocked"},
        )


def _lost(where: str, reason: str) -> ConnectionLost:
    """Return the error for a connection that could not be made, or is lost."""
    text = f"{where}: {reason}"
    if not re.search(_REFUSED, reason):
        return ConnectionLost(text)
    cause, remedy = explain(SETTING, text)
    return AccessRefused(f"AMQP_URL: {cause}; {remedy}, such as AMQP_URL={EXAMPLE}", text)


async def open_address(params: pika.ConnectionParameters, where: str, others: Others) -> BrokerConnection:
    """Connect to one address, which errors call ``where``.

    Raises ``ConnectionLost``.
    """
    use_tolerant_decoder()
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    closed: asyncio.Future[ConnectionLost] = loop.create_future()

    def lose(_raw: object, reason: object) -> None:
        lost = _lost(where, _plain(reason))
        if not opened.done():
            opened.set_exception(lost)
        if not closed.done():
            closed.set_result(lost)

    services = IoServices(loop)
    raw = AsyncioConnection(
        params,
        on_open_callback=lambda _raw: _settle(opened, None),
        on_open_error_callback=lose,
        on_close_callback=lose,
        custom_ioloop=services,
    )
    limit = _connect_limit(params)
    try:
        async with asyncio.timeout(limit):
            await opened
    except TimeoutError:
        await _give_up(raw, closed)
        raise ConnectionLost(f"{where}: no answer within {limit:g} s") from None
    except BaseException:
        await _give_up(raw, closed)
        raise
    return BrokerConnection(raw, closed, where, others, services)


async def _give_up(raw: AsyncioConnection, closed: "asyncio.Future[ConnectionLost]") -> None:
    """Close what is not needed any more: the connecting took too long, failed, or was cancelled."""
    if not (raw.is_closed or raw.is_closing):
        raw.close()
        await asyncio.wait({closed}, timeout=_GIVE_UP_TIMEOUT)


def _connect_limit(params: pika.ConnectionParameters) -> float:
    """Return the seconds for all of pika's tries; more than ours only where ``AMQP_URL`` asks for more."""
    one = max(_CONNECT_TIMEOUT, params.socket_timeout or 0, params.stack_timeout or 0)
    return float(one * params.connection_attempts + params.retry_delay * (params.connection_attempts - 1))


def _plain(reason: object) -> str:
    """Return the innermost error, without the exceptions that pika wraps around it."""
    while isinstance(reason, BaseException):
        inner = getattr(reason, "exceptions", None) or getattr(reason, "exception", None) or reason.args[:1]
        inner = inner[-1] if isinstance(inner, list | tuple) and inner else inner
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return str(reason) or type(reason).__name__


def _agreed_heartbeat(raw: AsyncioConnection) -> int:
    """Return the heartbeat that was agreed with the broker, in seconds; 0 is none."""
    agreed = raw.params.heartbeat
    return agreed if isinstance(agreed, int) else 0


def _settle(answer: "asyncio.Future[T]", result: T) -> None:
    """Set the result of a future that is not done yet."""
    if not answer.done():
        answer.set_result(result)
