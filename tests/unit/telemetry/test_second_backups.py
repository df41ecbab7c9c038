"""Tests of what is counted of second backups, and of events that have no end."""

import asyncio

from events.errors import EventIds
from events.message import Message, State
from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key
from handler.backup.result import Delay, Result
from handler.ledger.memory import MemoryLedger
from handler.telemetry.telemetry import Telemetry
from tests.twins.api import Made
from tests.twins.events import PROJECT, message
from tests.twins.world import World
from tests.unit.backup.handling import replayed, run


def test_a_second_backup_in_the_ledger_is_counted() -> None:
    """Two requests for one snapshot were accepted: the ledger keeps the first, and the metric says so."""
    telemetry, ledger = Telemetry(), MemoryLedger(lease_seconds=0.0)
    ledger.second = telemetry.second_backup

    async def body() -> None:
        claims = [await ledger.claim(Key("p", "s"), "event") for _ in range(2)]
        for number, claim in enumerate(claims):
            assert isinstance(claim, Granted)
            await ledger.created(claim, AcceptedBackup(id=f"b{number}"))
            await ledger.created(claim, AcceptedBackup(id="b0"))

    asyncio.run(body())
    assert 1 == telemetry.counters.second_backups


def test_a_second_backup_at_the_api_is_counted() -> None:
    """A lookup that finds two sound backups counts one second backup."""
    telemetry, world = Telemetry(), World()
    world.process = world.new_process()
    services = world.services()._replace(second=telemetry.second_backup)
    world.process._lookup.services = services

    async def body() -> None:
        await world.run(message(1))
        assert 0 == telemetry.counters.second_backups
        [first] = world.api.backups
        world.api.backups.append(Made("another", PROJECT, first.request, first.at))
        world.ledger = world._open_ledger()
        world.store._tables.rows.clear()
        world.broker.publish(replayed(message(1), world, "again"))
        await world.until_quiet()

    run(body)
    assert 1 == telemetry.counters.second_backups


def test_the_age_of_an_event_is_counted_at_each_delay_and_not_at_its_end() -> None:
    """An event that ends is none without an end, however old it was."""
    counters = Telemetry().counters
    state = State(first_seen=0.0)
    waiting = Result("waiting", Message(b""), state, EventIds(), delay=Delay(state, 5.0))
    counters.handled(waiting, now=50_000.0)
    counters.handled(waiting._replace(kind="completed", delay=None), now=90_000.0)
    assert (1, 50_000.0) == (sum(counters.event_ages.counts), counters.event_ages.total)
