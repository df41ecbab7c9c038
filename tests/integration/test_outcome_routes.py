"""Outcomes without a route, on a real broker: what a worker says, and what becomes of them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handler.broker.routes import BIND
from handler.cli import app
from handler.doctor.examine import examine
from handler.doctor.findings import Finding
from handler.settings import Settings
from infra.emulator.testing import Emulator, running_emulator
from infra.local.server import RabbitProcess
from tests.integration.outcome_site import Site, site
from tests.patience import patient
from tests.twins.events import cloud_event

pytestmark = pytest.mark.broker

EVERY_TYPE = "backup.accepted, backup.completed, backup.failed, backup.skipped"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Run an API whose backups are available at once."""
    with running_emulator() as running:
        yield running


@pytest.fixture
def settings(own_broker: RabbitProcess, emulator: Emulator, unique: str, tmp_path: Path) -> Settings:
    """Return a worker's settings: one outcome for each event, and the default delays but the last two."""
    values: dict[str, Any] = {
        "amqp_url": own_broker.url,
        "snapshot_exchange": f"{unique}.in",
        "snapshot_queue": unique,
        "result_exchange": f"{unique}.out",
        "track_backups": False,
        "vbs_endpoint": emulator.url,
        "vbs_auth": "none",
        "ledger_url": f"sqlite:///{tmp_path}/ledger.db",
        "http_address": "127.0.0.1:0",
        "wait_ladder": "2,300",
    }
    return Settings(_env_file=None, **values)


@pytest.fixture
def place(settings: Settings, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    """Yield a site without a worker."""
    with site(settings, caplog) as made:
        yield made


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings of a command."""
    return {
        "AMQP_URL": settings.amqp_url[0].get_secret_value(),
        "SNAPSHOT_EXCHANGE": settings.snapshot_exchange,
        "SNAPSHOT_QUEUE": settings.snapshot_queue,
        "RESULT_EXCHANGE": settings.result_exchange,
        "WAIT_LADDER": ",".join(map(str, settings.wait_ladder)),
        "VBS_ENDPOINT": settings.vbs_endpoint or "",
        "VBS_AUTH": "none",
        "LEDGER_URL": settings.ledger_url.get_secret_value(),
    }


def declare(place: Site, name: str) -> None:
    """Run ``topology declare --outcomes-queue``."""
    done = CliRunner().invoke(
        app, ["topology", "declare", "--outcomes-queue", name], env=environment(place.settings)
    )
    assert 0 == done.exit_code, done.output


def finding(place: Site, monkeypatch: pytest.MonkeyPatch) -> Finding:
    """Run the doctor, and return its finding on outcomes."""
    for name, value in environment(place.settings).items():
        monkeypatch.setenv(name, value)
    [found] = [each for each in asyncio.run(examine()) if each.what.startswith("outcomes of")]
    return found


def test_a_worker_without_a_queue_for_outcomes_says_so_before_the_first_event(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line with the command, /readyz, /metrics and doctor say that no queue is bound, then that one is."""
    with place.worker():
        place.until(lambda: place.ready()[1] != "ok")
        [line] = place.lines("outcome.unroutable")
        for word in (
            EVERY_TYPE,
            place.exchange,
            BIND,
        ):
            assert word in line
        assert "unroutable: backup.accepted" in place.ready()[1]
        assert 'outcomes_unroutable{type="backup.skipped"} 1.0' in place.page("/metrics")[1]
        found = finding(place, monkeypatch)
        assert ("warning", True) == (found.state, "topology declare --outcomes-queue" in found.remedy)

        declare(place, f"{place.queue}.outcomes")

        place.until(lambda: place.ready() == (200, "ok"))
        assert 'outcomes_unroutable{type="backup.skipped"} 0.0' in place.page("/metrics")[1]
        assert "ok" == finding(place, monkeypatch).state
    assert [] == place.take(f"{place.queue}.outcomes")
    place.channel.queue_delete(f"{place.queue}.outcomes")


def test_outcomes_that_waited_for_a_queue_are_published_within_seconds(
    place: Site, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 500 events has one outcome soon after ``topology declare``, and there are few log lines."""
    emulator.reset()
    outcomes = f"{place.queue}.outcomes"
    with place.worker():
        place.until(lambda: place.ready()[1] != "ok")
        place.ask(range(500))
        place.until(lambda: place.depth(f"{place.queue}.wait.outcomes") >= 499)
        assert 500 == len(emulator.backups())
        found = finding(place, monkeypatch)
        assert ("bad", True) == (found.state, "wait" in found.text)

        declare(place, outcomes)
        began = time.monotonic()
        place.until(lambda: place.depth(outcomes) >= 500, seconds=20)
        took = time.monotonic() - began
        place.until(lambda: place.ready() == (200, "ok"))

    events = Counter(each["id"] for each in place.take(outcomes))
    place.channel.queue_delete(outcomes)
    assert (500, 1) == (len(events), max(events.values()))
    assert 500 == len(emulator.backups())
    lines = [each for each in place.caplog.records if each.getMessage().startswith("outcomes ")]
    assert len(lines) <= 4, lines
    assert took < patient(15)


def outcomes_of(place: Site, queue: str, numbers: range, *, seconds: float = 20) -> Counter[str]:
    """Take outcomes until each event has one; count them by the event that caused them. Probes are none."""
    found: Counter[str] = Counter()

    def complete() -> bool:
        found.update(each["correlationid"] for each in place.take(queue) if each["type"] != "backup.probe")
        return found.keys() >= causes(numbers).keys()

    place.until(complete, seconds=seconds)
    return found


def causes(numbers: range) -> Counter[str]:
    """Return one outcome for each event."""
    return Counter(cloud_event(number)["id"] for number in numbers)


def test_a_queue_that_disappears_and_returns_is_noticed(place: Site, unique: str) -> None:
    """A consumer's queue is deleted while the worker runs: one line, and every outcome once it is back."""
    first = place.queue_for(f"{unique}.first", "#")
    with place.worker():
        place.ask(range(10))
        place.until(lambda: place.depth(first) == 10)
        place.channel.queue_delete(first)
        place.ask(range(10, 40))
        place.until(lambda: place.ready()[0] == 503)
        place.until(lambda: place.depth(f"{unique}.wait.outcomes") >= 29)

        second = place.queue_for(f"{unique}.second", "#")
        assert causes(range(10, 40)) == outcomes_of(place, second, range(10, 40))
        place.until(lambda: place.ready() == (200, "ok"))
    assert (1, 1) == (len(place.lines("outcome.unroutable")), len(place.lines("outcome.routable")))
    place.channel.queue_delete(second)


def test_an_exchange_that_another_client_deletes_is_made_again(place: Site, unique: str) -> None:
    """The exchange comes back without its bindings: outcomes wait until a queue is bound again."""
    queue = place.queue_for(f"{unique}.outcomes", "#")
    with place.worker():
        place.ask(range(5))
        place.until(lambda: place.depth(queue) == 5)
        place.channel.exchange_delete(place.exchange)
        place.ask(range(5, 20))
        place.until(lambda: place.ready()[0] == 503)

        place.channel.queue_bind(queue, place.exchange, "backup.*")
        assert causes(range(20)) == outcomes_of(place, queue, range(20))
    place.channel.queue_delete(queue)


def test_a_full_queue_stops_no_worker(place: Site, emulator: Emulator, unique: str) -> None:
    """A bound queue that refuses outcomes delays them. Backups go on; outcomes follow once there is room."""
    emulator.reset()
    full = place.queue_for(f"{unique}.full", "#", **{"x-max-length": 1, "x-overflow": "reject-publish"})
    place.channel.basic_publish("", full, b"the message that fills it")
    with place.worker():
        place.ask(range(200))
        place.until(lambda: len(emulator.backups()) == 200, seconds=30)
        place.until(lambda: place.depth(f"{unique}.wait.outcomes") >= 190)
        status, said = place.ready()
        assert (503, True) == (status, "refused: backup.accepted" in said)
        assert len(place.lines("publish.refused")) <= 2

        place.channel.queue_delete(full)
        queue = place.queue_for(f"{unique}.outcomes", "#")
        assert causes(range(200)) == outcomes_of(place, queue, range(200))
    place.channel.queue_delete(queue)


def test_a_missing_right_to_write_outcomes_stops_no_worker(
    place: Site, own_broker: RabbitProcess, emulator: Emulator, unique: str
) -> None:
    """A worker that may not write to the result exchange still makes backups; outcomes follow the right."""
    emulator.reset()
    queue = place.queue_for(f"{unique}.outcomes", "#")
    own_broker.ctl("add_user", unique, "password")
    own_broker.ctl("set_permissions", unique, ".*", rf"^(amq\.default|{unique}(?!\.out).*)$", ".*")
    url = own_broker.url.replace("guest:guest", f"{unique}:password")
    known = place.settings.model_copy(update={"amqp_url": Settings(_env_file=None, amqp_url=url).amqp_url})
    place.settings = known
    with place.worker():
        place.ask(range(100))
        place.until(lambda: place.depth(f"{unique}.wait.outcomes") >= 90)
        place.until(lambda: len(emulator.backups()) == 100)
        assert "refused: backup.accepted" in place.ready()[1]

        own_broker.ctl("set_permissions", unique, ".*", ".*", ".*")
        assert causes(range(100)) == outcomes_of(place, queue, range(100))
        place.until(lambda: place.ready() == (200, "ok"))
    place.channel.queue_delete(queue)
    own_broker.ctl("delete_user", unique)


def test_a_consumer_of_one_type_is_told_of_the_others(place: Site, unique: str) -> None:
    """With a binding for backup.failed only, the others are named, and its consumer gets no more probes."""
    queue = place.queue_for(f"{unique}.failed", "backup.failed")
    with place.worker():
        place.until(lambda: place.ready()[1] != "ok")
        [line] = place.lines("outcome.unroutable")
        assert ("backup.accepted, backup.completed, backup.skipped" in line, False) == (
            True,
            "backup.failed" in line,
        )
        seen = place.listen(queue, 11)
    assert [] == seen
    place.channel.queue_delete(queue)


def test_a_consumer_that_waits_gets_outcomes_and_no_probe(place: Site, unique: str) -> None:
    """Events that come with the worker show the route: a consumer of all outcomes sees nothing else."""
    queue = place.queue_for(f"{unique}.outcomes", "#")
    place.ask(range(5))
    with place.worker():
        seen = place.listen(queue, 9)
    assert [("backup.accepted", "backup.accepted")] * 5 == seen
    place.channel.queue_delete(queue)


def test_an_idle_worker_sends_one_probe_that_says_what_it_is(place: Site, unique: str) -> None:
    """A consumer that waits while no event comes gets one message, whose key and type are backup.probe."""
    queue = place.queue_for(f"{unique}.outcomes", "backup.*")
    with place.worker():
        seen = place.listen(queue, 9)
    assert [("backup.probe", "backup.probe")] == seen
    place.channel.queue_delete(queue)


@pytest.mark.parametrize(
    ("kind", "routed"),
    [("stream", True), ("alternate exchange by policy", True), ("an exchange without queues", False)],
)
def test_what_counts_as_a_route(
    place: Site, own_broker: RabbitProcess, unique: str, kind: str, routed: bool
) -> None:
    """A stream and an alternate exchange receive outcomes; an exchange behind which no queue is does not."""
    channel = place.channel
    queue = f"{unique}.other"
    channel.exchange_declare(f"{unique}.next", "fanout")
    if kind == "stream":
        place.queue_for(queue, "#", **{"x-queue-type": "stream"})
    else:
        place.queue_for(queue)
    if kind.startswith("alternate"):
        channel.queue_bind(queue, f"{unique}.next")
        definition = json.dumps({"alternate-exchange": f"{unique}.next"})
        own_broker.ctl("set_policy", "--apply-to", "exchanges", unique, rf"^{unique}\.out$", definition)
    if kind.startswith("an exchange"):
        channel.exchange_bind(f"{unique}.next", place.exchange, "#")
    with place.worker():
        place.ask(range(3))
        if routed:
            place.until(lambda: place.depth(queue) >= 3)
            assert (200, "ok") == place.ready()
        else:
            place.until(lambda: place.ready()[0] == 503)
            channel.queue_bind(queue, f"{unique}.next")
            place.until(lambda: place.depth(queue) >= 3, seconds=20)
            place.until(lambda: place.ready() == (200, "ok"))
    channel.queue_delete(queue)
    channel.exchange_delete(f"{unique}.next")


def test_outcomes_in_the_worker_s_own_queue_are_ignored_with_a_warning(place: Site) -> None:
    """Outcomes that a binding brings back make no dead letter; one line names what is wrong."""
    place.channel.queue_bind(place.queue, place.exchange, "#")
    with place.worker():
        place.ask(range(3))
        place.until(lambda: len(place.lines("message.accepted")) == 3)
        place.until(lambda: "ignored_total 3.0" in place.page("/metrics")[1])
        [line] = place.lines("outcome.returned")
        assert "RESULT_EXCHANGE" in line
    assert (0, 0) == (place.depth(place.queue), place.depth(f"{place.queue}.dead"))


def test_ignored_outcomes_are_counted_and_nothing_else(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With RESULT_UNROUTABLE=ignore the worker is ready, logs no line about routes, and counts."""
    place.settings = place.settings.model_copy(update={"result_unroutable": "ignore"})
    with place.worker():
        place.until(lambda: place.ready()[0] == 200)
        place.ask(range(7))
        place.until(lambda: "snapshot_backup_unroutable_total 7.0" in place.page("/metrics")[1])
        assert (200, "ok") == place.ready()
        monkeypatch.setenv("RESULT_UNROUTABLE", "ignore")
        assert ("ok", True) == (
            finding(place, monkeypatch).state,
            "dropped" in finding(place, monkeypatch).text,
        )
    assert [] == place.lines("outcome.unroutable")
    assert 0 == place.depth(f"{place.queue}.wait.outcomes")


def test_another_worker_publishes_what_the_first_one_left_waiting(place: Site, unique: str) -> None:
    """Outcomes that wait survive the worker: the next one publishes them soon after a queue is bound."""
    with place.worker():
        place.ask(range(50))
        place.until(lambda: place.depth(f"{unique}.wait.outcomes") >= 49)
    queue = place.queue_for(f"{unique}.outcomes", "#")
    with place.worker():
        assert causes(range(50)) == outcomes_of(place, queue, range(50))
    place.channel.queue_delete(queue)
