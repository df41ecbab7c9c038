"""The commands need only the rights to configure, write and read the topology's own names."""

import asyncio
import json
from pathlib import Path

import pytest

from handler.broker.topology import Topology
from infra.local.server import RabbitProcess
from tests.declaring import declared
from tests.integration.dead_letters.place import Place, dead_headers, event

pytestmark = pytest.mark.broker
QUEUE = "mine"


@pytest.fixture
def user_place(own_broker: RabbitProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a topology for a user with rights only on names that start with ``mine``."""
    monkeypatch.chdir(tmp_path)
    own_broker.ctl("add_user", "ordinary", "password")
    own_broker.ctl("set_permissions", "ordinary", f"^{QUEUE}", f"^({QUEUE}.*|amq\\.default)$", f"^{QUEUE}")
    url = own_broker.url.replace("guest:guest", "ordinary:password")
    topology = Topology(
        queue=QUEUE, snapshot_exchange=f"{QUEUE}.in", result_exchange=f"{QUEUE}.out", delays=(1, 2)
    )
    asyncio.run(declared(url, topology))
    return Place(url, topology, tmp_path)


def test_an_ordinary_user_may_use_every_command(user_place: Place) -> None:
    """A user without any other rights can list, show, export, replay and drop."""
    place = user_place
    place.dead_letter([(event(n), dead_headers(n)) for n in range(6)])

    listed = place.json("list")
    shown = place.run("show", listed["messages"][0]["id"], "--json")
    exported = place.json("export", "--out", "all.jsonl")
    replayed = place.json("replay", "--yes", "--limit", "3", "--rate", "100")
    dropped = place.json("drop", "--yes")

    assert 6 == listed["total"] == exported["exported"]
    assert "event-0" == json.loads(shown.stdout)["event_id"]
    assert (3, 3) == (replayed["replayed"], dropped["dropped"])
