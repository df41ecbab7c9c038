"""One instance of the function: the event loop, the connections and the ledger that it keeps between calls.

The platform freezes instances between calls. The event loop stands still, the broker gets no heartbeat, and a
firewall forgets the connection. So the connection is probed before each use, and made anew if needed.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

from events.decode import unpack
from events.message import Message
from events.state_keys import StateKeys
from handler.backup.ports import Ledger
from handler.backup.received import Received, Receiver
from handler.backup.result import Kind
from handler.bootstrap import Parts, addresses, parts, topology, warn_of_unknown_names
from handler.broker.connection import BrokerConnection
from handler.broker.outbox import BrokerOutbox, publish_again
from handler.broker.topology import DeclarationRefused, require_quorum
from handler.errors import BrokerError, ConnectionLost, LedgerUnavailable, SettingsError
from handler.function.batch import Batch, BatchServices
from handler.function.context import settings_of
from handler.function.deadline import Deadline
from handler.settings import Settings
from handler.telemetry import logs

log = logging.getLogger(__name__)

_PROBE_SECONDS = 2.0
_SWEEP_EVERY = 30.0
_SPARE = 2.0
_OVERDUE = 900.0
_SWEPT = 20
"""A call publishes at most so many messages again that have been due for 15 minutes, each 30 s at most, and
only where it has 2 s left."""

_CONNECTIONS_PER_CALL = 2
"""Enough to survive one restart of the broker within the call; after more the platform repeats the call."""


COUNTED: Final[tuple[Kind, ...]] = ("accepted", "completed", "failed", "skipped", "waiting")
"""The results that a call's summary counts; ignored notifications count only as received."""


def new_instance(context: Any) -> "Instance":
    """Make an instance by the settings in the context. Raises ``SettingsError``."""
    settings, sources = settings_of(context)
    logs.set_up(settings.log_level, settings.log_format)
    warn_of_unknown_names(sources)
    return Instance(settings)


def messages_of(event: object) -> list[Message]:
    """Return the messages of a call; a timer's tick has none, and keeps the instance warm. Never raises."""
    if isinstance(event, dict) and event.get("trigger_type") == "TIMER":
        return []
    return unpack(event)


class Instance:
    """The event loop, the API's client, the ledger and the broker's connection. ``close`` ends them all."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses = addresses(settings, moving=True)
        self._context: object = None
        self._publishing: _Publishing | None = None
        self._swept_at = float("-inf")
        self._resources = AsyncExitStack()
        self._runner = asyncio.Runner()
        try:
            self._parts: Parts = self._runner.run(self._open())
        except BaseException:
            self._runner.close()
            raise

    async def _open(self) -> Parts:
        return await self._resources.enter_async_context(parts(self._settings, agency=lambda: self._context))

    def handle(self, event: object, context: Any, deadline: Deadline) -> dict[str, int]:
        """Handle one call and return its summary.

        Raises:
            BrokerError: the broker is out of reach, so that some messages are neither done nor delayed.
            SettingsError: the broker cannot have the queues that the settings name.

        """
        messages = messages_of(event)
        self._context = context
        try:
            kinds = self._runner.run(self._within(messages, deadline))
        finally:
            self._context = None
        return {"received": len(messages)} | {kind: kinds[kind] for kind in COUNTED}

    def close(self) -> None:
        """Close everything."""
        try:
            self._runner.run(self._close())
        finally:
            self._runner.close()

    async def _close(self) -> None:
        if self._publishing is not None:
            await self._publishing.connection.close()
        await self._resources.aclose()

    async def _within(self, messages: Sequence[Message], deadline: Deadline) -> Counter[Kind]:
        try:
            async with asyncio.timeout_at(deadline.hard), _renewed(self._parts.ledger, self._settings):
                return await self._handle(messages, deadline)
        except TimeoutError:
            raise BrokerError("the broker has not confirmed everything in time") from None

    async def _handle(self, messages: Sequence[Message], deadline: Deadline) -> Counter[Kind]:
        if not messages:
            await self._sweep(deadline)
            return Counter()
        publishing = await self._live_connection()
        try:
            async with asyncio.timeout_at(deadline.soft):
                keys = await self._parts.state_keys()
        except (LedgerUnavailable, TimeoutError) as error:
            return await self._delay_unread(messages, publishing, error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline.soft):
                await self._parts.control.look()
        receiver = Receiver(keys, time.time)
        kinds: Counter[Kind] = Counter()
        left: Sequence[Received] = [receiver.receive(message) for message in messages]
        for _ in range(_CONNECTIONS_PER_CALL):
            if not left:
                break
            batch = Batch(self._services(await self._live_connection(), keys), deadline)
            left = await batch.run(left)
            kinds += batch.kinds
        if left:
            raise ConnectionLost(
                f"lost again and again; {len(left)} of {len(messages)} messages are not done"
            )
        await self._sweep(deadline)
        return kinds

    async def _sweep(self, deadline: Deadline) -> None:
        """Publish again what is long overdue, a little at the end of a call, where there is time left.

        A worker's sweep sees whether the queue is empty; the trigger's queue is not ours, so that a function
        waits for longer. What goes wrong here is no failure of the call: the next one tries again.
        """
        ledger, now = self._parts.ledger, time.monotonic()
        if not ledger.records_waiting or now - self._swept_at < _SWEEP_EVERY or deadline.soft - now < _SPARE:
            return
        self._swept_at = now
        if self._parts.breaker.state != "closed":
            return
        try:
            async with asyncio.timeout_at(deadline.soft):
                taken = await ledger.take_overdue(overdue=_OVERDUE, limit=_SWEPT, lease=2 * _SWEEP_EVERY)
                if taken:
                    await publish_again(
                        (await self._live_connection()).outbox, self._settings.snapshot_queue, taken
                    )
        except (BrokerError, LedgerUnavailable, TimeoutError) as error:
            log.warning("sweep broken off, tried again: %s", error, extra={"action": "sweep.failed"})

    async def _delay_unread(
        self, messages: Sequence[Message], publishing: "_Publishing", error: Exception
    ) -> Counter[Kind]:
        """Delay the messages as they came, since a waiting message cannot be told from a forged one."""
        log.warning(
            "%d messages wait: the key of waiting messages cannot be read: %s",
            len(messages),
            error,
            extra={"action": "state.keys_missing"},
        )
        seconds = self._settings.wait_ladder[0]
        await asyncio.gather(*(publishing.outbox.delay(each.body, seconds=seconds) for each in messages))
        return Counter({"waiting": len(messages)})

    def _services(self, publishing: "_Publishing", keys: StateKeys | None) -> BatchServices:
        parts = self._parts
        return BatchServices(
            publishing.outbox,
            lambda outbox: parts.process(outbox, keys),
            parts.breaker,
            parts.settings,
            publishing.connection.closed,
        )

    async def _live_connection(self) -> "_Publishing":
        """Return a connection that answers, with the outbox that publishes on one channel of it."""
        if self._publishing is None or not await _answers(self._publishing.connection):
            connection = await self._addresses.connect()
            await self._check(connection)
            self._publishing = _Publishing(connection, self._parts.outbox(connection))
            log.info(
                "connected to %s at %s",
                connection.product,
                connection.where,
                extra={"action": "broker.connected"},
            )
        return self._publishing

    async def _check(self, connection: BrokerConnection) -> None:
        """Raise ``SettingsError`` where this broker cannot have the queues that the settings name."""
        try:
            require_quorum(connection, topology(self._settings))
        except DeclarationRefused as error:
            await connection.close()
            raise SettingsError(str(error)) from error


class _Publishing(NamedTuple):
    connection: BrokerConnection
    outbox: BrokerOutbox


async def _answers(connection: BrokerConnection) -> bool:
    """Ask the broker for something small; drop a connection without an answer."""
    with contextlib.suppress(TimeoutError, ConnectionLost):
        async with asyncio.timeout(_PROBE_SECONDS):
            await (await connection.channel()).close()
            return True
    await connection.drop()
    return False


@asynccontextmanager
async def _renewed(ledger: Ledger, settings: Settings) -> AsyncIterator[None]:
    """Renew the leases of what is in hand."""
    renewing = asyncio.create_task(_renew(ledger, settings.lease_seconds / 3))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renew(ledger: Ledger, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        with contextlib.suppress(LedgerUnavailable):
            await ledger.renew()
