"""A topology of quorum queues on the broker, and a console on it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.broker.topology import Topology
from handler.console.web.app import create_app
from handler.console.web.site import Site, make_site
from handler.settings import Settings
from tests.console_browser import Browser, browsing
from tests.declaring import declared
from tests.integration.console.running import beside
from tests.integration.dead_letters.place import Place


@pytest.fixture
def delays() -> tuple[int, ...]:
    """The retry delays of the topology, in seconds."""
    return (1, 2)


@pytest.fixture
def place(amqp_url: str, unique: str, tmp_path: Path, delays: tuple[int, ...]) -> Iterator[Place]:
    """Declare the topology, and delete it after the test."""
    topology = Topology(
        queue=unique, snapshot_exchange=f"{unique}.in", result_exchange=f"{unique}.out", delays=delays
    )
    beside(lambda: asyncio.run(declared(amqp_url, topology)))
    place = Place(amqp_url, topology, tmp_path)
    yield place
    with place.channel() as channel:
        for queue in topology.queues():
            channel.queue_delete(queue.name)
        for exchange in topology.exchanges():
            channel.exchange_delete(exchange.name)


@pytest.fixture
def site(place: Place) -> Site:
    """The site of a console on the topology."""
    values: dict[str, Any] = {name.lower(): value for name, value in place.settings_of_program.items()}
    site = make_site(Settings(_env_file=None, **values))
    site.jobs.folder = place.folder
    return site


@pytest.fixture
def console(site: Site) -> Iterator[Browser]:
    """A browser at that console, which runs in this process."""
    with browsing(create_app(site)) as found:
        yield found
