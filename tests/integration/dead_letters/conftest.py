"""A topology on the broker for each test, on quorum queues and on classic queues."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.broker.topology import Topology
from tests.declaring import declared
from tests.integration.dead_letters.place import Place


@pytest.fixture(params=["quorum", "classic"])
def place(
    request: pytest.FixtureRequest,
    amqp_url: str,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """Declare the topology, and delete it after the test."""
    monkeypatch.chdir(tmp_path)
    topology = Topology(
        queue=unique,
        snapshot_exchange=f"{unique}.in",
        result_exchange=f"{unique}.out",
        delays=(1, 2),
        quorum=request.param == "quorum",
    )
    asyncio.run(declared(amqp_url, topology))
    place = Place(amqp_url, topology, tmp_path)
    yield place
    with place.channel() as channel:
        for queue in topology.queues():
            channel.queue_delete(queue.name)
        for exchange in topology.exchanges():
            channel.exchange_delete(exchange.name)
