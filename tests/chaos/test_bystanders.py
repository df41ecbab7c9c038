"""T14: the other messages in hand when a message kills the process."""

import json
import time
from pathlib import Path

import pytest

from events.decode import parse_message
from events.message import Message
from infra.local.server import RabbitProcess
from tests.chaos.conftest import MakeSite
from tests.chaos.site import many, wait_for
from tests.twins.events import made_up_id, message

pytestmark = pytest.mark.broker

DEADLY = 999_999
LIMIT = 3
"""The delivery limit that a policy sets; with the queue's own 20, the test would take a minute."""


def _deadly_python(folder: Path, deaths: Path) -> str:
    """Write a ``sitecustomize`` that ends the process at a marked snapshot, as a bug in C code would.

    Each death first adds a byte to ``deaths``, so that it is counted before the broker can know of it.

    It does so before the claim: after it each death is followed by a wait for the claim's end, and the broker
    counts anew. Then the count is ours, as ``test_a_poison_message_ends_wherever_it_crashes`` holds.
    """
    marked = made_up_id("snapshot", DEADLY)
    (folder / "sitecustomize.py").write_text(
        "import os\n"
        "from handler.backup.process import Process\n"
        "decide = Process._decide\n"
        "async def deadly(self, job):\n"
        f"    if job.request.snapshot_id == {marked!r}:\n"
        f"        with open({str(deaths)!r}, 'ab') as deaths:\n"
        "            deaths.write(b'.')\n"
        "        os._exit(139)\n"
        "    return await decide(self, job)\n"
        "Process._decide = deadly\n"
    )
    return str(folder)


def test_a_message_that_kills_the_process_is_dead_lettered_alone(
    make_site: MakeSite, own_broker: RabbitProcess, unique: str, tmp_path: Path
) -> None:
    """T14: the delivery limit dead-letters the poison message alone; the 49 other events succeed."""
    own_broker.ctl("set_policy", "soon", f"^{unique}$", json.dumps({"delivery-limit": LIMIT}))
    site = make_site(own_broker.url, CONCURRENCY="50")
    path = tmp_path / "deadly"
    path.mkdir()
    deaths = tmp_path / "deaths"
    python = _deadly_python(path, deaths)
    site.ask(dict(many(0, 25)))
    site.publish(message(DEADLY))
    site.ask(dict(many(25, 49)))
    worker = site.start_worker(python=[python])
    dead_queue = site.queues[-1]

    def over() -> bool:
        nonlocal worker
        dead = site.rabbit.count(dead_queue) == 1
        if worker.poll() is not None:
            assert 139 == worker.returncode, site.log_tail()
            site.kill(worker)
            worker = site.start_worker(python=[python])
        # The broker sees a death before `poll` does: the worker may have died although it was not replaced.
        return dead and site.started == deaths.stat().st_size + 1

    wait_for(over, seconds=110, what=site.counts)
    site.wait_until_ended(seconds=30)
    [(headers, body)] = site.rabbit.take_all(dead_queue)
    # If the message was parked before, the broker dead-letters its delayed form, which contains the original.
    original, state, _ = parse_message(Message(body), now=time.time(), keys=site.state_keys)
    assert made_up_id("snapshot", DEADLY) == json.loads(original.body)["data"]["snapshot_id"]
    assert "delivery_limit" == headers["x-death"][0]["reason"]
    died = deaths.stat().st_size
    site.judge("T14 bystanders", deaths=died)
    assert LIMIT + 1 == died - state.crashes, "counted down by this message's own deaths alone"
