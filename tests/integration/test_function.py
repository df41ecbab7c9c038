"""The function against a real broker and the emulator, called as FunctionGraph calls it.

Dangers:
- The trigger acknowledges by itself: a message that a call has not finished when it returns is lost.
- The platform repeats whole calls: a repeated call must create no second backup.
- Instances are frozen between calls, and their connections may be lost when they resume.
"""

import asyncio
import base64
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from handler import function
from handler.backup.holds import FIRST_PAUSE
from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.topology import Topology, declare
from handler.errors import BrokerError, SettingsError
from handler.function import entry, instance
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger
from infra.emulator.testing import Emulator, running_emulator
from tests.chaos.site import wait_for
from tests.integration.function_world import DELAYS, PROJECT, World, batch, counts, event, function_world
from tests.patience import patient
from tests.proxy import TcpProxy
from tests.twins.context import FakeContext, MixedUnitsContext

pytestmark = pytest.mark.broker

SAMPLES = Path(__file__).parents[1] / "data" / "events"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Run an API that completes backups at once."""
    with running_emulator(settle=0.0, race=0) as emulator:
        yield emulator


@pytest.fixture
def world(amqp_url: str, unique: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Yield the surroundings of a function call, with unique names and a cold instance."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "40")
    emulator.reset()
    with function_world(amqp_url.partition(",")[0], unique, emulator) as world:
        yield world


@pytest.fixture
def proxy(world: World) -> Iterator[TcpProxy]:
    """Yield a proxy between the function and the broker; the test's own connection bypasses it."""
    parts = urlsplit(world.amqp_url)
    with TcpProxy(parts.hostname or "", parts.port or 5672) as proxy:
        login = parts.netloc.rpartition("@")[0]
        world.settings["AMQP_URL"] = f"amqp://{login}@{proxy.host}:{proxy.port}{parts.path}"
        yield proxy
        function.close()


def sample(name: str) -> Any:
    """Return the payload of a call, as documented or captured."""
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def test_an_event_becomes_a_backup_that_is_tracked(world: World) -> None:
    """When the call returns, the outcome and the delayed message are on the broker."""
    one = event()

    assert counts(1, accepted=1) == world.call(batch(one))
    assert [one["data"]["snapshot_id"]] == world.backups()
    assert Counter({"backup.accepted": 1}) == world.outcomes()
    assert ["track"] == [waiting["waitreason"] for waiting in world.waiting()]


def test_a_tracked_message_comes_back_and_completes(world: World) -> None:
    """A new instance continues tracking, since the body of the delayed message holds its state."""
    world.call(batch(event()))
    [watched] = world.waiting()
    world.freeze()

    assert counts(1, completed=1) == world.call(batch(watched))
    assert Counter({"backup.accepted": 1, "backup.completed": 1}) == world.outcomes()
    assert 1 == len(world.backups())


@pytest.mark.parametrize(
    "name",
    ["rabbitmq-exchange", "rabbitmq-topic", "rabbitmq-flat", "rabbitmq-objects", "smn", "asynchronous",
     "cinder-bare", "cloudevents", "data"],
)  # fmt: skip
def test_each_form_of_a_call_leads_to_the_backup(world: World, name: str) -> None:
    """RabbitMQ trigger payloads, the other envelopes and a single event each create one backup."""
    world.settings["VBS_PROJECT_ID"] = PROJECT
    summary = world.call(sample(name))

    assert 1 == summary["accepted"]
    assert 1 == len(world.backups())


@pytest.mark.parametrize("name", ["cts-trace", "cts-trigger", "eventgrid-trace"])
@pytest.mark.parametrize(("status", "kind"), [("available", "accepted"), ("creating", "waiting")])
def test_a_trace_counts_once_the_snapshot_is_complete(
    world: World, emulator: Emulator, name: str, status: str, kind: str
) -> None:
    """A trace proves only a request, so the function looks up the snapshot's status in the API."""
    world.settings["VBS_PROJECT_ID"] = PROJECT
    emulator.declare_snapshots(
        [{"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT, "status": status}]
    )

    assert counts(1, **{kind: 1}) == world.call(sample(name))


@pytest.fixture
def sweeping(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Give the function a ledger, and take each waiting message for overdue."""
    world.settings["LEDGER_URL"] = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setattr(instance, "_OVERDUE", -3600.0)
    monkeypatch.setattr(instance, "_SWEEP_EVERY", 0.0)
    return world


def test_a_call_takes_up_again_what_the_broker_lost(sweeping: World) -> None:
    """At the end of a call a lost message is in the queue again, once, and completes."""
    world = sweeping
    assert counts(1, accepted=1) == world.call(batch(event(size_gb=1)))
    for delay in DELAYS:
        world.channel.queue_delete(world.wait_queue(delay))
    for _ in range(2):
        assert counts(0) == world.call({"trigger_type": "TIMER"})
    [(body, _)] = world.take(world.name)
    assert counts(1, completed=1) == world.call(batch(body.decode()))
    assert 1 == len(world.backups())


def test_a_call_without_time_left_sweeps_nothing(sweeping: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short call leaves the sweep to the next one."""
    world = sweeping
    monkeypatch.setattr(instance, "_SPARE", 3600.0)
    world.call(batch(event(size_gb=1)))
    world.call({"trigger_type": "TIMER"})
    assert [] == world.take(world.name)


def test_a_bad_message_does_not_affect_the_rest_of_its_batch(world: World) -> None:
    """Each message of a batch has its own outcome, and a bad message is dead-lettered unchanged."""
    foreign = {"event_type": "volume.create.end", "payload": {}}
    ours = event(snapshot_name="autobk_snapshot_1")
    bad = "plain text is possible too"

    summary = world.call(batch(event(), bad, foreign, ours, event(volume_id=1)))

    assert counts(5, accepted=1, failed=2, skipped=1) == summary
    assert bad.encode() in [body for body, _ in world.dead()]
    assert Counter({"backup.accepted": 1, "backup.failed": 2, "backup.skipped": 1}) == world.outcomes()


@pytest.mark.parametrize("how", ["a message", "a call"])
def test_a_batch_of_cloudevents_is_taken_apart(world: World, how: str) -> None:
    """Each event of a batch has its own outcome, and a bad one is dead-lettered alone."""
    bad = {**event(), "type": "snapshot.deleted"}
    several = [event(), bad, event()]

    summary = world.call(several if how == "a call" else batch(several))

    assert counts(3, accepted=2, failed=1) == summary
    assert [bad] == [json.loads(body) for body, _ in world.dead()]
    assert Counter({"backup.accepted": 2, "backup.failed": 1}) == world.outcomes()


def test_a_repeated_batch_creates_no_second_backup(world: World) -> None:
    """If the platform repeats a whole call on a new instance, each snapshot still has one backup."""
    again = batch(event(), event())
    world.call(again)
    world.freeze()
    world.call(again)

    assert 2 == len(world.backups())


def test_the_same_snapshot_twice_in_a_batch_is_backed_up_once(world: World) -> None:
    """Of two events of one snapshot, one creates the backup and the other is delayed."""
    one, other = event(), event()
    other["data"] = one["data"]

    assert counts(2, accepted=1, waiting=1) == world.call(batch(one, other))
    assert 1 == len(world.backups())


@pytest.mark.parametrize("bad", [None, [], ["x"], "text", 7, {}, {"records": 1}, b"bytes"], ids=repr)
def test_a_call_with_something_else_gets_a_summary_and_a_dead_letter(world: World, bad: object) -> None:
    """A call with any other payload returns a summary and makes one dead letter, without a traceback."""
    assert counts(1, failed=1) == world.call(bad)
    assert 1 == len(world.dead())


def test_a_thousand_messages_of_nonsense_are_a_thousand_dead_letters(world: World) -> None:
    """A batch of 1,000 bad messages, the largest of a trigger, makes 1,000 dead letters."""
    assert counts(1000, failed=1000) == world.call(batch(*(f"nonsense {n}" for n in range(1000))))
    assert 1000 == len({body for body, _ in world.dead()})


def test_a_call_larger_than_the_platform_allows_is_handled_all_the_same(world: World) -> None:
    """A message above MAX_BODY_BYTES is dead-lettered, and a good message of the same call is accepted."""
    huge = json.dumps({"padding": "x" * 7_000_000})

    assert counts(2, accepted=1, failed=1) == world.call(batch(huge, event()))
    assert ["too_large"] == [headers["dl-code"] for _, headers in world.dead()]


def test_a_tick_of_a_timer_does_nothing(world: World) -> None:
    """A timer's call returns an empty summary, and needs no broker."""
    world.settings["AMQP_URL"] = "amqp://127.0.0.1:1/"

    assert counts(0) == world.call(sample("timer"))


def test_a_warm_call_makes_no_new_connection(world: World, proxy: TcpProxy, emulator: Emulator) -> None:
    """A second call uses the connections of the first, both to the broker and to the API."""
    api = urlsplit(emulator.url)
    with TcpProxy(api.hostname or "", api.port or 0) as api_proxy:
        world.settings["VBS_ENDPOINT"] = f"http://{api_proxy.host}:{api_proxy.port}"
        world.call(batch(event()))
        cold = proxy.accepted, api_proxy.accepted
        world.call(batch(event()))

        assert (1, 1) == cold == (proxy.accepted, api_proxy.accepted)
        function.close()


def test_warm_calls_use_one_channel(world: World) -> None:
    """Three calls use one channel, since a connection allows about 2,000 channels."""
    for _ in range(3):
        world.call(batch(event()))
    line = entry._warm[0]._publishing

    assert line is not None
    assert 1 == len(line.connection.raw._channels)


def test_a_connection_closed_while_the_instance_was_frozen_is_reopened(world: World, proxy: TcpProxy) -> None:
    """If the broker connection was closed between two calls, the second call opens a new one."""
    world.call(batch(event()))
    proxy.cut_all()

    assert counts(1, accepted=1) == world.call(batch(event()))
    assert Counter({"backup.accepted": 2}) == world.outcomes()


def test_a_connection_dropped_by_a_firewall_is_reopened(world: World, proxy: TcpProxy) -> None:
    """If a firewall silently drops the idle connection, the call opens a new one after a short timeout."""
    world.call(batch(event()))
    proxy.forget_all()

    assert counts(1, accepted=1) == world.call(batch(event()))
    assert Counter({"backup.accepted": 2}) == world.outcomes()


def test_without_a_broker_the_call_fails_and_its_repeat_creates_no_second_backup(
    world: World, proxy: TcpProxy, emulator: Emulator
) -> None:
    """If the broker goes down while a backup is created, the call fails, and its repeat creates none."""
    api = urlsplit(emulator.url)
    emulator.set_faults([{"route": "create", "effect": "delay", "seconds": 1, "times": 1}])
    repeated = batch(event())
    with TcpProxy(api.hostname or "", api.port or 0) as api_proxy:
        world.settings["VBS_ENDPOINT"] = f"http://{api_proxy.host}:{api_proxy.port}"
        with gone_once(lambda: api_proxy.accepted > 0, proxy), pytest.raises(BrokerError):
            world.call(repeated)
        world.freeze()
        proxy.refuse(on=False)

        assert counts(1, accepted=1) == world.call(repeated)
        assert 1 == len(world.backups())
        function.close()


def test_a_broker_that_answers_nothing_fails_the_call_before_the_platform_ends_it(
    world: World, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the broker never answers, the call raises an error before the platform's timeout."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "3")
    proxy.swallow(on=True)
    started = time.monotonic()

    with pytest.raises(BrokerError, match="in time"):
        world.call(batch(event()))
    assert time.monotonic() - started < patient(3)
    assert [] == world.backups()


@pytest.mark.parametrize("timeout", ["30", None], ids=["RUNTIME_TIMEOUT", "no RUNTIME_TIMEOUT"])
def test_a_quick_call_succeeds_on_a_runtime_that_mixes_its_units(
    world: World, timeout: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call succeeds even if its context reports 30 ms instead of 30 s as the time left."""
    monkeypatch.delenv("RUNTIME_TIMEOUT")
    if timeout is not None:
        monkeypatch.setenv("RUNTIME_TIMEOUT", timeout)
    world.context = MixedUnitsContext(world.settings)
    function.initializer(world.context)  # as the platform does; a cold start is not in the time of a call

    for _ in range(2):
        world.context = MixedUnitsContext(world.settings)
        assert counts(1, accepted=1) == world.call(batch(event()))
    assert Counter({"backup.accepted": 2}) == world.outcomes()


@contextmanager
def gone_once(condition: Callable[[], bool], proxy: TcpProxy) -> Iterator[None]:
    """Make the broker unavailable as soon as a condition holds, while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not condition() and not over.wait(0.01):
            pass
        proxy.refuse(on=True)
        proxy.cut_all()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_messages_that_cannot_be_finished_in_time_are_delayed(
    world: World, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the API hangs, the message in work is delayed for a lookup, and the others for a pause."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", f"{patient(1):g}")
    world.settings["CONCURRENCY"] = "1"
    emulator.set_faults([{"route": "create", "effect": "hang", "seconds": 60}])
    events = [event(), event(), event()]

    assert counts(3, waiting=3) == world.call(batch(*events))
    waiting = world.waiting()
    assert ["lookup", "pause", "pause"] == sorted(each["waitreason"] for each in waiting)
    originals = [json.loads(base64.urlsafe_b64decode(each["data"]["body"])) for each in waiting]
    assert {each["id"] for each in events} == {each["id"] for each in originals}


def test_a_backup_of_a_call_in_doubt_is_found_and_not_created_again(
    world: World, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a create call without an answer, the next instance looks up the backup and creates no second."""
    limit = patient(1)
    monkeypatch.setenv("RUNTIME_TIMEOUT", f"{limit:g}")
    emulator.set_faults([{"route": "create", "effect": "delay", "seconds": limit + 1, "times": 1}])
    world.call(batch(event()))
    [waiting] = world.waiting()
    world.freeze()
    world.emulator.clear_faults()
    wait_for(lambda: len(world.backups()) == 1, seconds=20, what=world.backups)

    assert counts(1, accepted=1) == world.call(batch(waiting))
    assert 1 == len(world.backups())


def test_tracking_that_could_not_be_finished_continues(
    world: World, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the status call hangs, the message is delayed for tracking again, with the same backup id."""
    world.call(batch(event()))
    [watched] = world.waiting()
    monkeypatch.setenv("RUNTIME_TIMEOUT", f"{patient(1):g}")
    emulator.set_faults([{"route": "show", "effect": "hang", "seconds": 60}])

    assert counts(1, waiting=1) == world.call(batch(watched))
    assert [watched["backupid"]] == [
        each["backupid"] for each in world.waiting() if each["waitreason"] == "track"
    ]


def test_messages_are_delayed_while_the_api_is_down(world: World, emulator: Emulator) -> None:
    """While the API is down all messages are delayed: it gets those in hand, and a call of another route."""
    emulator.set_faults([{"route": "*", "effect": "status", "status": 503}])
    world.settings |= {"CONCURRENCY": "2", "VBS_API_VERSION": "v2"}

    began = time.monotonic()
    assert counts(10, waiting=10) == world.call(batch(*(event() for _ in range(10))))
    pauses = int((time.monotonic() - began) // FIRST_PAUSE)  # after each of them one message probes
    assert {"pause"} == {each["waitreason"] for each in world.waiting()}
    assert 3 + pauses >= sum(sum(calls.values()) for calls in emulator.stats().values())


def test_credentials_are_those_of_the_present_call(world: World) -> None:
    """Each call uses its own context's token, since the platform renews tokens of running instances."""
    with running_emulator(auth="token", race=0) as strict:
        world.settings |= {"VBS_ENDPOINT": strict.url, "VBS_AUTH": "agency"}
        for _ in range(2):
            strict.reset()  # earlier tokens are no longer valid
            world.context.token = token_of(strict)
            assert counts(1, accepted=1) == world.call(batch(event()))
        function.close()


def token_of(emulator: Emulator) -> str:
    """Sign in at the emulator, as the platform does for a function's agency."""
    user = {"name": "demo", "password": "secret", "domain": {"name": "Default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": {"id": PROJECT}}}}
    answer = httpx.post(f"{emulator.url}/v3/auth/tokens", json=body, trust_env=False)
    return answer.headers["X-Subject-Token"]


def test_a_bad_setting_is_named(world: World) -> None:
    """The initializer's error names the setting, since the platform shows the error's text."""
    world.settings["WAIT_LADDER"] = "5,1"

    with pytest.raises(SettingsError, match="WAIT_LADDER"):
        function.initializer(world.context)


def test_a_missing_setting_is_named() -> None:
    """Without any settings, the error names VBS_ENDPOINT."""
    with pytest.raises(SettingsError, match="VBS_ENDPOINT"):
        function.handler({}, FakeContext())


def test_outcomes_without_a_queue_follow_once_one_is_bound(world: World) -> None:
    """500 events without a queue wait; once one is bound, each has one outcome within seconds."""
    world.settings["TRACK_BACKUPS"] = "false"
    asyncio.run(_declare_topology(world))
    outcomes, exchange = f"{world.name}.outcomes", f"{world.name}.out"
    world.channel.queue_unbind(outcomes, exchange, "#")
    lines: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        lines.append(vars(record)["action"])
        return True

    routes = logging.getLogger("handler.broker.routes")
    routes.addFilter(hear)
    events = [event() for _ in range(500)]
    for first in range(0, 500, 50):
        assert counts(50, waiting=50) == world.call(batch(*events[first : first + 50]))

    world.channel.queue_bind(outcomes, exchange, "backup.*")
    found: Counter[str] = Counter()

    def complete() -> bool:
        """Do as the trigger does: hand over what comes back from the wait queues."""
        if returned := [body.decode() for body, _ in world.take(world.name)]:
            world.call(batch(*returned))
        found.update(json.loads(body)["correlationid"] for body, _ in world.take(outcomes))
        return len(found) == 500

    wait_for(complete, seconds=30, what=lambda: f"{len(found)} of 500 outcomes")
    assert Counter(each["id"] for each in events) == found
    assert 500 == len(world.backups())
    routes.removeFilter(hear)
    assert ["outcome.unroutable", "outcome.routable"] == lines


def test_outcomes_wait_in_a_topology_of_an_older_release(world: World) -> None:
    """Without the queue to park in, outcomes wait in the other wait queues, and the call succeeds."""
    world.settings["TRACK_BACKUPS"] = "false"
    world.channel.queue_unbind(f"{world.name}.outcomes", f"{world.name}.out", "#")
    assert counts(5, waiting=5) == world.call(batch(*(event() for _ in range(5))))
    assert ["publish"] * 5 == [each["waitreason"] for each in world.waiting()]


async def _declare_topology(world: World) -> None:
    topology = Topology(world.name, f"{world.name}.in", f"{world.name}.out", DELAYS, quorum=False)
    async with await connect([world.amqp_url], Tls()) as connection:
        await declare(connection, topology)


def test_a_paused_function_delays_its_messages(world: World, tmp_path: Path) -> None:
    """A function obeys the pause of its queue like a worker: a cold instance too, and until the resume."""
    url = world.settings["LEDGER_URL"] = f"sqlite:///{tmp_path}/ledger.db"

    def operate(change: Callable[[StoredLedger], Coroutine[Any, Any, object]]) -> None:
        async def opened() -> None:
            ledger = open_ledger(url, lease_seconds=20)
            await change(ledger)
            await ledger.aclose()

        asyncio.run(opened())

    operate(lambda ledger: ledger.pause(world.name, reason="upgrade"))
    for _ in range(2):
        assert counts(1, waiting=1) == world.call(batch(event()))
        world.freeze()
    assert ([], {"paused"}) == (world.backups(), {each["waitreason"] for each in world.waiting()})

    operate(lambda ledger: ledger.resume(world.name))
    assert counts(1, accepted=1) == world.call(batch(event()))
