"""What a broker and its client agree on at the start of a connection counts: frames, heartbeat, channels."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.message import Message
from handler.broker.addresses import connect
from handler.broker.connection import HEARTBEAT, Tls
from handler.errors import ConnectionLost
from infra.emulator.testing import running_emulator
from infra.local.server import RabbitProcess
from tests.chaos.site import Site, wait_for
from tests.integration.dead_letters.place import event

pytestmark = pytest.mark.broker

LONG: dict[str, Any] = dict.fromkeys(("correlation_id", "message_id", "type", "app_id"), "ü" * 127)
NEARLY_4_KIB = {"own-1": "x" * 900, "own-2": "x" * 800, "own-3": "x" * 700, "small": 1}
"""With ``LONG`` it fits a frame of 4 KiB alone, and does not fit one with our headers beside it."""
SETTINGS = {"narrow": "frame_max = 4096\nchannel_max = 5\nheartbeat = 4", "unlimited": "frame_max = 0"}


@pytest.fixture(scope="module", params=SETTINGS)
def tuned(own_broker: RabbitProcess, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Yield the name of the limits that a broker proposes, and its URL."""
    file = own_broker.folder / "rabbitmq.conf"
    before = file.read_text()
    file.write_text(f"{before}{SETTINGS[request.param]}\n")
    own_broker.restart()
    yield request.param, own_broker.url
    file.write_text(before)


def test_a_dead_letter_fits_the_brokers_frame(tuned: tuple[str, str], unique: str, tmp_path: Path) -> None:
    """A message whose headers fill the broker's frame becomes one dead letter, and the connection stays."""
    with running_emulator() as emulator, Site(tuned[1], emulator, tmp_path, unique) as site:
        _dead_lettered_once(site, NEARLY_4_KIB)


@pytest.mark.parametrize("parameter", ["frame_max=4096", "frame_max=8192", "channel_max=5&heartbeat=5"])
def test_a_dead_letter_fits_the_frame_of_the_url(
    amqp_url: str, unique: str, tmp_path: Path, parameter: str
) -> None:
    """The limits in AMQP_URL hold in the same way, since the lower of both counts."""
    settings = {"AMQP_URL": f"{amqp_url}?{parameter}"}
    with running_emulator() as emulator, Site(amqp_url, emulator, tmp_path, unique, settings) as site:
        _dead_lettered_once(site, {f"own-{number}": "x" * 1_900 for number in range(30)})


def _dead_lettered_once(site: Site, headers: dict[str, Any]) -> None:
    site.start_worker()
    site.publish(Message(b"{broken", "text/plain", headers, LONG))
    site.publish(Message(event(1)))
    wait_for(lambda: site.counts()[site.queues[-1]] == 1, seconds=20, what=site.log_tail)
    wait_for(lambda: not sum(site.unfinished().values()), seconds=20, what=site.counts)
    [(found, body)] = site.rabbit.take_all(site.queues[-1])
    assert (b"{broken", "malformed", "not_json") == (body, found["dl-category"], found["dl-code"])
    assert "broker.lost" not in site.log_tail()


def test_the_lower_heartbeat_counts(tuned: tuple[str, str]) -> None:
    """A broker that proposes a shorter heartbeat than ours gets it; else ours is agreed on."""
    name, url = tuned
    assert (4 if name == "narrow" else HEARTBEAT) == asyncio.run(_heartbeat(url))


async def _heartbeat(url: str) -> object:
    async with await connect([url], Tls()) as connection:
        return connection.raw.params.heartbeat


def test_too_few_channels_are_named(amqp_url: str) -> None:
    """A connection that may have no other channel says which limit to raise."""

    async def body() -> None:
        async with await connect([f"{amqp_url}?channel_max=2"], Tls()) as connection:
            await connection.channel()
            await connection.channel()
            with pytest.raises(ConnectionLost, match="may have 2 channels and needs 8: raise channel_max"):
                await connection.channel()

    asyncio.run(body())
