"""The worker: connects, declares the topology and consumes, until it is stopped."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from handler.backup.control_watch import ControlWatch
from handler.backup.ports import Ledger
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.declaration import bind_foreign
from handler.broker.topology import Binding, DeclarationRefused, Topology, declare
from handler.broker.upkeep import Upkeep
from handler.errors import AccessRefused, BrokerError, LedgerUnavailable, SettingsError
from handler.tasks import settled, unless
from handler.worker.session import ConsumerSession
from handler.worker.sweep import Consuming
from handler.worker.watch import ConsumerWatch

log = logging.getLogger(__name__)

CLASSIC = (
    "waiting messages can be lost when the broker is killed, since classic queues dead-letter at most once; "
    "use quorum wherever the broker has it (RabbitMQ 3.10 or later)"
)
"""What ``QUEUE_TYPE=classic`` costs."""

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
REBIND_SECONDS = 5.0  # a try costs 0.9 ms of CPU (measured), and the broker a line of its log while it fails
CHECK_SECONDS = 30.0
_PRUNE_SECONDS = 3600.0
_DAY = 86400.0
_GIVE_UP_SECONDS = 2.0
_LEAVE_SECONDS = 0.2
"""How long a worker that has taken all of ``DRAIN_SECONDS`` waits until the ledger has forgotten it."""


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """What a worker needs; durations in seconds, ``retention`` in days."""

    connect: Callable[[], Awaitable[BrokerConnection]]
    make_session: Callable[[BrokerConnection], Coroutine[Any, Any, ConsumerSession]]
    """Raises ``LedgerUnavailable`` where the key that authenticates waiting messages cannot be read."""
    topology: Topology
    ledger: Ledger
    lease_seconds: float
    retention: float
    drain_seconds: float
    upkeep: Upkeep
    control: ControlWatch
    sweep: Callable[[BrokerConnection, Consuming], Coroutine[Any, Any, None]]
    """Publishes overdue messages again until the connection is lost."""
    check_seconds: float = CHECK_SECONDS


class Worker:
    """Runs one consumer session after the other until it is stopped.

    A broker that is down is tried again for as long as that takes, at start and later.
    """

    def __init__(self, services: WorkerServices, *, rng: Random | None = None) -> None:
        self._services = services
        self._rng = rng or Random()  # noqa: S311 - spreads reconnects, keeps no secret
        self.session: ConsumerSession | None = None
        self._declared = False
        self.stop: asyncio.Event | None = None
        """Set once the worker is to stop; None before it runs."""
        self.connections = 0
        self.waits_for: Literal["broker", "ledger"] = "broker"
        """What a worker without a session waits for."""

    @property
    def draining(self) -> bool:
        """Whether the worker is to stop."""
        return self.stop is not None and self.stop.is_set()

    async def run(self, stop: asyncio.Event) -> int:
        """Work until ``stop`` is set; return how many messages in hand were left for redelivery.

        Raises ``SettingsError`` where the first broker that answers refuses the login, the virtual host or a
        declaration for good, or has a topology that would lose messages.
        """
        self.stop = stop
        if not self._services.topology.quorum:
            log.warning("QUEUE_TYPE=classic: %s", CLASSIC, extra={"action": "broker.classic"})
        chores = [
            asyncio.create_task(each) for each in (self._renew_leases(), self._prune(), self._control())
        ]
        wait = _FIRST_WAIT
        unfinished = 0
        try:
            while not stop.is_set():
                try:
                    unfinished = await self._one_session(stop)
                    wait = _FIRST_WAIT
                except BrokerError as error:
                    self.waits_for = "broker"
                    log.warning(
                        "not connected to the broker, connecting again: %s",
                        error,
                        extra={"action": "broker.lost"},
                    )
                    wait = _FIRST_WAIT if self.session is not None else min(wait * 2, _LONGEST_WAIT)
                    self.session = None
                    await self._back_off(stop, wait)
                except LedgerUnavailable as error:
                    self.waits_for = "ledger"
                    log.warning(
                        "not consuming: the key of waiting messages cannot be read: %s",
                        error,
                        extra={"action": "state.keys_missing"},
                    )
                    self.session = None
                    wait = min(wait * 2, _LONGEST_WAIT)
                    await self._back_off(stop, wait)
        finally:
            for chore in chores:
                chore.cancel()
            await asyncio.gather(*chores, return_exceptions=True)
            await self._services.control.leave(_LEAVE_SECONDS if unfinished else _GIVE_UP_SECONDS)
        return unfinished

    async def _back_off(self, stop: asyncio.Event, seconds: float) -> None:
        await _sleep_or(stop, seconds * self._rng.uniform(0.5, 1.0))

    async def _one_session(self, stop: asyncio.Event) -> int:
        connection = await unless(stop, self._open(), seconds=_GIVE_UP_SECONDS)
        if connection is None:
            return 0
        chores: list[asyncio.Task[None]] = []
        try:
            async with connection:
                return await self._consume(connection, chores, stop)
        finally:
            # Not before the connection is closed: a broker that is silent would hold them up.
            await settled(chores, seconds=_GIVE_UP_SECONDS)

    async def _consume(
        self, connection: BrokerConnection, chores: list[asyncio.Task[None]], stop: asyncio.Event
    ) -> int:
        """Consume until ``stop`` is set, with ``chores`` beside it, and drain; return how many are left."""
        self.connections += 1
        log.info(
            "connected to %s at %s",
            connection.product,
            connection.where,
            extra={"action": "broker.connected"},
        )
        chores.append(asyncio.create_task(self._keep_bindings(connection)))
        try:
            session = await unless(stop, self._services.make_session(connection), seconds=_GIVE_UP_SECONDS)
            if session is None:
                return 0
            self.session = session
            watch = ConsumerWatch(session, self._services.topology.queue)
            chores.append(asyncio.create_task(self._keep_topology(connection, watch)))
            chores.append(asyncio.create_task(self._services.sweep(connection, watch)))
            await session.run(stop)
            return await session.drain(self._services.drain_seconds)
        finally:
            for chore in chores:
                chore.cancel()

    async def _open(self) -> BrokerConnection:
        """Connect, and declare what is ours. A login that is refused at start is a wrong setting."""
        try:
            connection = await self._services.connect()
        except AccessRefused as error:
            if self._declared:
                raise
            raise SettingsError(str(error)) from error
        try:
            await self._declare(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _declare(self, connection: BrokerConnection) -> None:
        """Declare the topology at start; what is refused for good is a wrong setting.

        After a loss nothing is declared before consuming, and the upkeep does it beside that: while a node of
        a cluster stands still, no declaration is answered for a minute, and the queues work.
        """
        if self._declared:
            return
        if doubt := connection.product.doubt(quorum=self._services.topology.quorum):
            log.warning("%s", doubt, extra={"action": "broker.untested"})
        try:
            await declare(connection, self._services.topology)
        except DeclarationRefused as error:
            raise SettingsError(str(error)) from error
        self._declared = True

    async def _keep_bindings(self, connection: BrokerConnection) -> None:
        """Make the bindings to other people's exchanges, and again when such an exchange comes back."""
        failing: set[Binding] = set()
        while True:
            for binding in self._services.topology.foreign_bindings():
                problem = await bind_foreign(connection, binding)
                if problem and binding not in failing:
                    _warn_of_unbound(binding, problem)
                (failing.add if problem else failing.discard)(binding)
            await asyncio.sleep(REBIND_SECONDS)

    async def _keep_topology(self, connection: BrokerConnection, watch: ConsumerWatch) -> None:
        """Restore what is missing, and consume anew where the broker has forgotten our consumers."""
        while not connection.closed.done():
            try:
                watch.check(await self._services.upkeep.restore(connection), self._services.upkeep.remade)
            except ChannelClosed as error:
                if connection.closed.done():
                    return
                log.warning(
                    "not all exchanges and queues of ours could be checked: %s; tried again every %g s",
                    error,
                    self._services.check_seconds,
                    extra={"action": "topology.refused"},
                )
            await asyncio.sleep(self._services.check_seconds)

    @property
    def missing(self) -> Sequence[str]:
        """The input queue or its exchange while either does not exist."""
        return self._services.upkeep.missing

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._services.lease_seconds / 3)
            with contextlib.suppress(LedgerUnavailable):
                await self._services.ledger.renew()

    async def _control(self) -> None:
        """Have the session follow what operators set."""

        def changed() -> None:
            if self.session is not None:
                self.session.adjust_soon()

        await self._services.control.keep(changed)

    async def _prune(self) -> None:
        while True:
            with contextlib.suppress(LedgerUnavailable):
                await self._services.ledger.prune(self._services.retention * _DAY)
            await asyncio.sleep(_PRUNE_SECONDS)


def _warn_of_unbound(binding: Binding, problem: str) -> None:
    log.warning(
        "SNAPSHOT_BINDINGS: not bound: %s: %s; tried again every %g s, what is published meanwhile is lost",
        binding,
        problem,
        REBIND_SECONDS,
        extra={"action": "binding.missing"},
    )


async def _sleep_or(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


@contextlib.contextmanager
def stop_on_signals(stop: asyncio.Event, *, second_ends: bool = True) -> Iterator[None]:
    """Set ``stop`` on the first SIGTERM or SIGINT; the second ends the process at once, as signals do.

    Under a supervisor the second means nothing: a terminal and systemd signal each process of a group, and
    the supervisor signals its workers too.
    """
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def came(number: signal.Signals) -> None:
        if stop.is_set():
            return
        log.info("%s: finishing what is in hand", number.name, extra={"action": "worker.draining"})
        stop.set()
        for each in signals if second_ends else ():
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for each in signals:
        loop.add_signal_handler(each, came, each)
    try:
        yield
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
