"""What waits is lost by the broker: wait queues deleted, made anew, and under policies of other people.

Danger: a snapshot whose message is lost is never looked at again, and no outcome is published.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from pika.exceptions import ChannelClosedByBroker

from events.message import Message
from infra.emulator.testing import Emulator
from infra.local.server import RabbitProcess
from tests.chaos.conftest import MakeSite
from tests.chaos.rabbit import delete
from tests.chaos.site import Site, many, wait_for
from tests.forks import running_emulator

pytestmark = pytest.mark.broker

KOLLA = r"^(?!(amq\.)|(.*_fanout_)|(reply_)).*"
"""The pattern of the policy that kolla-ansible sets on its brokers; there with ``message-ttl`` 600000 and
``expires`` 3600000."""

TRACKED = {"TRACK_BACKUPS": "true"}


@pytest.fixture
def emulator(seed: int) -> Iterator[Emulator]:
    """Run an emulator whose backups take six seconds, so that each message waits several times."""
    with running_emulator(settle=6.0, seed=seed) as emulator:
        yield emulator


def started(site: Site, count: int = 1) -> None:
    """Start quick workers, and wait until each has checked the topology."""
    for _ in range(count):
        site.start_worker(quick=True, LOG_LEVEL="DEBUG")
    wait_for(lambda: len(site.working()) == count, seconds=30, what=site.log_tail)
    wait_for(lambda: len(lines(site, "topology.checked")) >= count, seconds=30, what=site.log_tail)


def delete_waits(site: Site) -> None:
    """Delete every wait queue, with what waits in it."""
    delete(site.rabbit, site.queues[1:-1], ())


def letter(number: int) -> Message:
    """Return a message for the dead letters."""
    return next(many(number, number + 1))[1][1]


def lines(site: Site, action: str) -> Sequence[dict[str, object]]:
    """Return the log lines of all workers that have an action."""
    texts = [line for log in site.logs.values() for line in log.read_text().splitlines() if action in line]
    return [line for line in map(json.loads, texts) if line.get("action") == action]


def held(site: Site, queue: str) -> int:
    """Return how many messages a queue held at the last check of the topology."""
    counts = lines(site, "topology.checked")[-1]["held"]
    assert isinstance(counts, dict)
    return int(counts[queue])


def exists(site: Site, queue: str) -> bool:
    """Return whether a queue exists."""
    try:
        site.rabbit.count(queue)
    except ChannelClosedByBroker:
        return False
    return True


def deleted_under_load(
    site: Site, emulator: Emulator, *, tracked: int, doubtful: int, seconds: float
) -> None:
    """Delete all wait queues with so many backups in progress and calls in doubt, while events come in.

    ``seconds`` is the time within which every event must end.
    """
    total = tracked + doubtful
    site.ask(dict(many(0, tracked, size_gb=4)))
    wait_for(lambda: len(emulator.backups()) == tracked, seconds=seconds, what=site.counts)
    emulator.set_faults([{"route": "create", "effect": "drop_after", "times": doubtful}])
    site.ask(dict(many(tracked, total, size_gb=4)))
    wait_for(lambda: len(emulator.backups()) == total, seconds=seconds, what=site.counts)
    waiting = sum(count for queue, count in site.counts().items() if ".wait." in queue)
    delete_waits(site)
    site.ask(dict(many(total, total + total // 10, size_gb=4)))
    took = site.wait_until_ended(seconds=seconds)
    swept = sum(int(str(line["messages"])) for line in lines(site, "sweep.overdue"))
    assert swept
    shows = sum(emulator.stats()["show"].values())
    site.judge(
        "wait queues deleted", waiting=waiting, published_again=swept, took=f"{took:.1f} s", shows=shows
    )


def test_deleted_wait_queues_lose_no_snapshot(make_site: MakeSite, amqp_url: str, emulator: Emulator) -> None:
    """Backups in progress and calls in doubt whose messages are deleted all end, with one backup each."""
    site = make_site(amqp_url, **TRACKED)
    started(site)
    deleted_under_load(site, emulator, tracked=50, doubtful=10, seconds=60)


def test_a_wait_queue_that_is_made_anew_loses_nothing(
    make_site: MakeSite, amqp_url: str, emulator: Emulator
) -> None:
    """Messages return whose queue another program has deleted, and declared at once."""
    site = make_site(amqp_url, **TRACKED)
    started(site)
    site.ask(dict(many(0, 20)))
    wait_for(lambda: len(emulator.backups()) == 20, seconds=30, what=site.counts)
    delete_waits(site)
    assert 0 == site.run("topology", "declare").returncode
    took = site.wait_until_ended(seconds=60)
    site.judge("wait queues made anew", took=f"{took:.1f} s")


def test_a_deleted_dead_letter_queue_is_told_with_what_it_held(make_site: MakeSite, amqp_url: str) -> None:
    """The log says how many dead letters were lost, and the queue is declared again."""
    site = make_site(amqp_url)
    started(site)
    dead = site.queues[-1]
    for number in range(3):
        site.rabbit.publish("", dead, letter(number))
    wait_for(lambda: site.rabbit.count(dead) == 3, seconds=10, what=site.counts)
    wait_for(lambda: held(site, dead) == 3, seconds=20, what=site.log_tail)
    delete(site.rabbit, [dead], ())
    wait_for(lambda: exists(site, dead), seconds=20, what=site.log_tail)
    [line] = lines(site, "topology.missing")
    assert ("ERROR", 3) == (line["level"], line["messages"])
    assert f"the queue {dead} is gone" in str(line["message"])
    assert "3 dead letters, which are lost" in str(line["message"])


@pytest.mark.parametrize("what", ["", ".in"])
def test_a_deleted_exchange_is_declared_again(make_site: MakeSite, amqp_url: str, what: str) -> None:
    """The fanout and the input exchange are declared and bound again, and the log says so."""
    site = make_site(amqp_url)
    started(site)
    site.rabbit.insist(lambda channel: channel.exchange_delete(site.name + what))
    wait_for(lambda: bool(lines(site, "topology.missing")), seconds=20, what=site.log_tail)
    site.ask(dict(many(0, 5)))
    site.wait_until_ended(seconds=30)
    assert "exchange" in str(lines(site, "topology.missing")[0]["message"])
    site.judge(f"exchange {what or 'fanout'} deleted")


def test_one_of_two_workers_sweeps(make_site: MakeSite, amqp_url: str, emulator: Emulator) -> None:
    """Each lost message is published again once, although two workers run and each is able to."""
    site = make_site(amqp_url, **TRACKED)
    started(site, 2)
    site.ask(dict(many(0, 60)))
    wait_for(lambda: len(emulator.backups()) == 60, seconds=30, what=site.counts)
    delete_waits(site)
    site.wait_until_ended(seconds=60)
    swept = sum(int(str(line["messages"])) for line in lines(site, "sweep.overdue"))
    assert 0 < swept <= 60
    by = [log for log in site.logs.values() if b"sweep.overdue" in log.read_bytes()]
    assert 1 == len(by), "both swept"
    site.judge("two workers, one sweep", swept=swept)


def test_a_killed_sweep_loses_and_multiplies_nothing(
    make_site: MakeSite, amqp_url: str, emulator: Emulator
) -> None:
    """A worker is killed in the middle of its sweep: the next one takes up the rest, at most once more."""
    site = make_site(amqp_url, **TRACKED)
    started(site)
    site.ask(dict(many(0, 150)))
    wait_for(lambda: len(emulator.backups()) == 150, seconds=60, what=site.counts)
    delete_waits(site)
    wait_for(lambda: bool(lines(site, "sweep.overdue")), seconds=30, what=site.log_tail)
    site.kill(site.workers[0])
    site.workers.clear()
    site.start_worker(quick=True)
    took = site.wait_until_ended(seconds=100)
    swept = sum(int(str(line["messages"])) for line in lines(site, "sweep.overdue"))
    assert swept <= 2 * 150
    site.judge("sweep killed", took=f"{took:.1f} s", swept=swept)


class TestPolicies:
    """Policies of other people on our queues. They change a whole broker, so it is the module's own."""

    @contextmanager
    def policy(self, broker: RabbitProcess, site: Site, pattern: str, **definition: object) -> Iterator[None]:
        """Set a policy for the block."""
        body = json.dumps({key.replace("_", "-"): value for key, value in definition.items()})
        broker.ctl("set_policy", site.name, pattern, body, "--apply-to", "all")
        try:
            yield
        finally:
            broker.ctl("clear_policy", site.name)

    def held(self, broker: RabbitProcess, site: Site) -> int:
        """Return how many messages the queues of a site hold, those in hand included."""
        rows = [line.split("\t") for line in broker.ctl("list_queues", "name", "messages").splitlines()]
        return sum(int(row[1]) for row in rows if row[0] in site.queues)

    @pytest.mark.parametrize("kind", ["quorum", "classic"])
    def test_queues_in_use_do_not_expire(
        self, make_site: MakeSite, own_broker: RabbitProcess, emulator: Emulator, kind: str
    ) -> None:
        """Under kolla's policy, an hour of it in eight seconds, no snapshot and no dead letter is lost.

        Classic queues stay. Of quorum queues the wait queues are deleted: the ledger has what was in them.
        """
        site = make_site(own_broker.url, QUEUE_TYPE=kind, **TRACKED)
        started(site)
        dead = site.queues[-1]
        site.rabbit.publish("", dead, letter(1))
        with self.policy(own_broker, site, KOLLA, expires=8_000):
            site.ask(dict(many(0, 10)))
            ends = time.monotonic() + 20.0
            while time.monotonic() < ends:
                site.sink.poll(0.5)
                # Not counted while the worker has it in hand to keep its queue in use.
                wait_for(
                    lambda: site.rabbit.count(dead) == 1, seconds=10, what=lambda: "the dead letter is lost"
                )
            site.wait_until_ended(seconds=60)
            gone = {str(line["message"]).split()[2] for line in lines(site, "topology.missing")}
            waits = {*site.queues[1:-1], f"{site.name}.wait.outcomes"}
            assert gone <= (waits if kind == "quorum" else set())
        # One may have been deleted just now; the worker declares it again.
        wait_for(lambda: all(exists(site, queue) for queue in site.queues), seconds=30, what=site.log_tail)
        site.judge(f"expires, {kind}", dead=1)

    def test_wait_queues_that_expire_lose_no_snapshot(
        self, make_site: MakeSite, own_broker: RabbitProcess, emulator: Emulator
    ) -> None:
        """A policy deletes the wait queues while no worker runs: the next worker takes all up again."""
        site = make_site(own_broker.url, **TRACKED)
        started(site)
        site.ask(dict(many(0, 20)))
        wait_for(lambda: len(emulator.backups()) == 20, seconds=30, what=site.counts)
        site.sink.poll(0.5)
        site.stop()
        with self.policy(own_broker, site, rf"^{site.name}\.wait\.", expires=500):
            wait_for(lambda: not exists(site, site.queues[1]), seconds=60, what=site.counts)
        site.start_worker(quick=True)
        took = site.wait_until_ended(seconds=60)
        site.judge("expired while no worker ran", took=f"{took:.1f} s")

    @pytest.mark.parametrize(
        "definition",
        [
            {"message_ttl": 700},
            {"max_length": 2, "overflow": "drop-head"},
            {"max_length_bytes": 4_000, "overflow": "drop-head"},
            {"max_length": 4},
            {"delivery_limit": 0, "dead_letter_exchange": "elsewhere"},
        ],
        ids=["ttl", "drop-head", "bytes", "refuse", "misdirect"],
    )
    def test_policies_on_wait_queues_lose_no_snapshot(
        self,
        make_site: MakeSite,
        own_broker: RabbitProcess,
        emulator: Emulator,
        definition: dict[str, object],
    ) -> None:
        """A TTL, a limit that drops or refuses, another exchange: each snapshot ends, with one backup."""
        site = make_site(own_broker.url, **TRACKED)
        started(site)
        with self.policy(own_broker, site, rf"^{site.name}\.wait\.", **definition):
            site.ask(dict(many(0, 12)))
            took = site.wait_until_ended(seconds=100)
        # A full queue holds messages up for so long that the sweep publishes a copy, which may end first.
        wait_for(lambda: not sum(site.counts().values()), seconds=60, what=site.counts)
        wait_for(lambda: not self.held(own_broker, site), seconds=60, what=site.counts)
        site.judge(f"policy {definition}", took=f"{took:.1f} s")


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_wait_queues_deleted_with_two_thousand_backups_in_progress(
    make_site: MakeSite, amqp_url: str, seed: int
) -> None:
    """In full: 2,000 backups in progress and 200 calls in doubt, and workers with their usual times.

    Each event ends within the longest delay (120 s), 75 s until it counts as lost, and a second for 50.
    """
    with running_emulator(settle=150.0, seed=seed) as emulator:
        settings = {"VBS_ENDPOINT": emulator.url, "VBS_TIMEOUT": "30", "LEASE_SECONDS": "20"}
        site = make_site(amqp_url, delays=(5, 30, 120), **TRACKED, **settings)
        site.emulator = emulator
        for _ in range(2):
            site.start_worker()
        wait_for(lambda: len(site.working()) == 2, seconds=30, what=site.log_tail)
        deleted_under_load(site, emulator, tracked=2_000, doubtful=200, seconds=360)
