"""T15, T19, T20, T21: failures of connection, queues and broker, and a worker that is stopped."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pika.exceptions import ChannelClosedByBroker

from infra.emulator.testing import Emulator
from infra.local.server import RabbitProcess
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.patience import patient
from tests.proxy import TcpProxy
from tests.tls import make_certificate, tls_front

pytestmark = pytest.mark.broker

HEARTBEAT = 2
DRAIN = 5.0
"""``DRAIN_SECONDS`` of ``QUICK``."""
EXIT_SECONDS = 1.0
"""Seconds that a worker may take to close and exit, after the drain."""


def _events_go_through(site: Site, first: int, *, seconds: float) -> float:
    """Publish ten more events, and return how many seconds their outcomes took."""
    site.ask(dict(many(first, first + 10)))
    return site.wait_until_ended(seconds=seconds)


def _started(site: Site, *, quick: bool = False) -> None:
    site.start_worker(quick=quick)
    wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)


@contextmanager
def _memory_alarm(broker: RabbitProcess) -> Iterator[None]:
    """Keep the memory alarm on in the block: the broker then reads no more from who has published.

    It is cleared in any case, since the connection of the tests would wait for ever.
    """
    broker.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        yield
    finally:
        broker.ctl("set_vm_memory_high_watermark", "0.4")


@contextmanager
def _proxied(
    make_site: MakeSite, amqp_url: str, *, heartbeat: int = HEARTBEAT, quick: bool = False
) -> Iterator[tuple[Site, TcpProxy]]:
    """Yield a site whose running worker reaches the broker through a proxy, and the proxy."""
    parts = urlsplit(amqp_url)
    who = f"{parts.username}:{parts.password}"
    with TcpProxy(parts.hostname or "", parts.port or 5672) as proxy:
        site = make_site(amqp_url)
        address = f"{who}@{proxy.host}:{proxy.port}"
        site.settings = {"AMQP_URL": f"amqp://{address}{parts.path or '/'}?heartbeat={heartbeat}"}
        _started(site, quick=quick)
        yield site, proxy


def test_a_link_over_tls_carries_everything(make_site: MakeSite, amqp_url: str, tmp_path: Path) -> None:
    """A TLS connection transfers more than one record each way, on the worker's own event loop."""
    parts = urlsplit(amqp_url)
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_front(parts.port or 5672, certificate) as port:
        site = make_site(amqp_url)
        url = f"amqps://{parts.username}:{parts.password}@127.0.0.1:{port}{parts.path or '/'}"
        site.settings = {"AMQP_URL": url, "AMQP_CA_FILE": str(certificate.certificate)}
        _started(site)
        site.ask(dict(many(0, 200)))
        site.wait_until_ended(seconds=30)
        site.judge("over TLS")


def test_a_worker_reconnects_after_a_half_open_connection(make_site: MakeSite, amqp_url: str) -> None:
    """T20: a worker whose bytes are lost both ways consumes again soon after two heartbeats."""
    with _proxied(make_site, amqp_url) as (site, proxy):
        _events_go_through(site, 0, seconds=20)
        proxy.swallow(True)
        site.ask(dict(many(10, 20)))
        wait_for(lambda: "broker.lost" in site.log_tail(), seconds=6 * HEARTBEAT, what=site.log_tail)
        proxy.swallow(False)
        proxy.cut_all()
        took = _events_go_through(site, 20, seconds=30)
        site.judge("T20 half-open", took=f"{took:.1f} s")


def test_a_connection_that_is_reset_ten_times_loses_no_event(make_site: MakeSite, amqp_url: str) -> None:
    """T20: no event is lost if all sockets are cut ten times while messages are in hand."""
    with _proxied(make_site, amqp_url) as (site, proxy):
        for cut in range(10):
            site.ask(dict(many(20 * cut, 20 * cut + 20)))
            site.sink.poll(0.2)
            proxy.cut_all()
        site.wait_until_ended(seconds=60)
        site.judge("T20 cut", cuts=10)


def test_a_deleted_queue_is_made_again(make_site: MakeSite, amqp_url: str) -> None:
    """T20: if its queue is deleted, the worker declares it again and handles further events."""
    site = make_site(amqp_url)
    _started(site)
    for cycle in range(3):
        site.rabbit.insist(lambda channel: channel.queue_delete(site.name))
        wait_for(lambda: _exists(site, site.name), seconds=20, what=site.log_tail)
        _events_go_through(site, 10 * cycle, seconds=20)
    site.judge("T20 queue deleted", cycles=3)


def _exists(site: Site, queue: str) -> bool:
    try:
        site.rabbit.count(queue)
    except ChannelClosedByBroker:
        return False
    return True


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_an_outcome_without_a_route_is_published_later(
    make_site: MakeSite, amqp_url: str, emulator: Emulator, what: str
) -> None:
    """T15: if queue or exchange of outcomes is deleted, all outcomes are published once it is back."""
    site = make_site(amqp_url)
    _started(site)
    _events_go_through(site, 0, seconds=20)
    if what == "queue":
        site.rabbit.insist(lambda channel: channel.queue_delete(site.sink.queue))
    else:
        site.rabbit.insist(lambda channel: channel.exchange_delete(f"{site.name}.out"))
    events = dict(many(10, 110))
    site.ask(events)
    wait_for(lambda: len(emulator.backups()) == 110, seconds=30, what=site.counts)
    site.listener.close()
    site.sink.declare()
    took = site.wait_until_ended(seconds=30)
    site.judge(f"T15 {what} deleted", took=f"{took:.1f} s")


def test_sigterm_under_load_ends_in_time(make_site: MakeSite, amqp_url: str) -> None:
    """T19: after SIGTERM the worker finishes the calls in flight, receives no more messages, and ends."""
    site = make_site(amqp_url, CONCURRENCY="32")
    site.emulator.set_faults([{"route": "create", "effect": "delay", "seconds": 1.0}])
    _started(site)
    site.ask(dict(many(0, 200)))
    wait_for(lambda: "create" in str(site.emulator.stats()), seconds=20, what=site.counts)
    took = site.stop()
    assert took < DRAIN + patient(EXIT_SECONDS)
    calls = sum(site.emulator.stats()["create"].values())
    site.start_worker()
    site.emulator.clear_faults()
    site.wait_until_ended(seconds=60)
    assert calls < 200, "the drain took in more"
    site.judge("T19 SIGTERM", took=f"{took:.1f} s", calls_before=calls)


def test_a_call_that_outlasts_the_drain_is_left_in_doubt(make_site: MakeSite, amqp_url: str) -> None:
    """T19: the worker ends within the grace period, and the next worker looks up the backup first."""
    site = make_site(amqp_url, DRAIN_SECONDS="1", VBS_TIMEOUT="20")
    site.emulator.set_faults([{"route": "create", "effect": "delay", "seconds": 3.0, "times": 8}])
    _started(site)
    site.ask(dict(many(0, 8)))
    wait_for(lambda: not site.rabbit.count(site.name), seconds=20, what=site.counts)
    site.sink.poll(0.5)
    took = site.stop()
    assert took < 1 + patient(EXIT_SECONDS)
    site.settings = {"VBS_TIMEOUT": "2"}
    site.start_worker()
    site.wait_until_ended(seconds=60)
    site.judge("T19 kill after grace", took=f"{took:.1f} s")


def test_a_second_signal_ends_the_worker_at_once(make_site: MakeSite, amqp_url: str) -> None:
    """T19: a second signal ends the worker without a drain."""
    site = make_site(amqp_url, VBS_TIMEOUT="20", DRAIN_SECONDS="20")
    site.emulator.set_faults([{"route": "create", "effect": "delay", "seconds": 15.0, "times": 1}])
    worker = site.start_worker()
    wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)
    site.publish(next(many(0, 1))[1][1])
    wait_for(lambda: not site.rabbit.count(site.name), seconds=20, what=site.counts)
    worker.terminate()
    wait_for(lambda: "worker.draining" in site.log_tail(), seconds=5, what=site.log_tail)
    started = time.monotonic()
    worker.terminate()
    assert -signal.SIGTERM == worker.wait(patient(5))
    assert time.monotonic() - started < patient(1)


def test_sigterm_ends_a_worker_while_the_broker_is_silent(make_site: MakeSite, amqp_url: str) -> None:
    """T19: a worker with a half-open connection or a silent broker ends within the grace period."""
    with _proxied(make_site, amqp_url, heartbeat=60) as (site, proxy):
        proxy.swallow(True)
        assert site.stop() < DRAIN + patient(EXIT_SECONDS)


def test_sigterm_ends_a_worker_that_checks_the_topology_of_a_silent_broker(
    make_site: MakeSite, amqp_url: str
) -> None:
    """T19: a check of the topology or a sweep that waits for the broker does not hold the worker up."""
    with _proxied(make_site, amqp_url, heartbeat=60, quick=True) as (site, proxy):
        proxy.swallow(True)
        wait_for(lambda: bool(proxy.swallowed), seconds=10, what=site.log_tail)
        assert site.stop() < DRAIN + patient(EXIT_SECONDS)


def test_sigterm_ends_a_worker_while_it_connects(make_site: MakeSite, amqp_url: str) -> None:
    """T19: a worker that connects to an address without an AMQP server ends on SIGTERM."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        site = make_site(amqp_url)
        site.settings = {"AMQP_URL": f"amqp://guest:guest@127.0.0.1:{mute.getsockname()[1]}/"}
        worker = site.start_worker()
        mute.settimeout(30)
        connection, _ = mute.accept()
        with connection:
            started = time.monotonic()
            worker.terminate()
            assert 0 == worker.wait(patient(10))
            assert time.monotonic() - started < patient(3)


class TestOwnBroker:
    """Tests that change or restart the broker, so that they need their own."""

    def test_a_blocked_connection_loses_nothing(self, make_site: MakeSite, own_broker: RabbitProcess) -> None:
        """T21: while a memory alarm blocks publishers, no event is lost, and handling goes on afterwards."""
        site = make_site(own_broker.url)
        site.ask(dict(many(0, 30)))
        with _memory_alarm(own_broker):
            log = site.logs[site.start_worker().pid]
            wait_for(lambda: b"broker.blocked" in log.read_bytes(), seconds=40, what=site.log_tail)
            site.sink.poll(3.0)
            published = len(site.sink.outcomes)
        took = site.wait_until_ended(seconds=60)
        assert published < 30, "nothing was held up"
        site.judge("T21 blocked", took=f"{took:.1f} s", published_before=published)

    def test_a_refused_confirm_is_tried_again(self, make_site: MakeSite, own_broker: RabbitProcess) -> None:
        """T21: outcomes that a full queue refuses are published once there is room."""
        site = make_site(own_broker.url)
        full = f"{site.name}.full"
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        site.rabbit.insist(lambda channel: channel.queue_declare(full, durable=True, arguments=arguments))
        site.rabbit.insist(lambda channel: channel.queue_bind(full, f"{site.name}.out", "#"))
        site.ask(dict(many(0, 20)))
        log = site.logs[site.start_worker().pid]
        wait_for(lambda: b"publish.refused" in log.read_bytes(), seconds=30, what=site.log_tail)
        site.rabbit.insist(lambda channel: channel.queue_delete(full))
        took = site.wait_until_ended(seconds=40)
        site.judge("T21 refused confirms", took=f"{took:.1f} s")


def _t3(site: Site, own_broker: RabbitProcess, *, events: int) -> None:
    """Restart the broker at one third and at one half of the run."""
    own_broker.wait_until_on_disk(*site.queues, site.sink.queue)
    site.start_worker()
    site.start_worker()
    recovered = []
    for part, (first, last) in enumerate(
        [(0, events // 3), (events // 3, events // 2), (events // 2, events)]
    ):
        site.ask(dict(many(first, last)))
        if part < 2:
            own_broker.restart()
            recovered.append(_events_go_through(site, events * (10 + part), seconds=60 + events / 40))
    site.wait_until_ended(seconds=60 + events / 20)
    took = ", ".join(f"{each:.1f} s" for each in recovered)
    site.judge("T3 restarts of the broker", events=len(site.asked), recovered_within=took)


def test_restarts_of_the_broker_lose_nothing(make_site: MakeSite, own_broker: RabbitProcess) -> None:
    """T3: two restarts of the broker during 400 events lose no event."""
    _t3(make_site(own_broker.url), own_broker, events=400)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_restarts_under_ten_thousand_events(make_site: MakeSite, own_broker: RabbitProcess) -> None:
    """T3 in full: two restarts of the broker during 10,000 events lose no event."""
    _t3(make_site(own_broker.url), own_broker, events=10_000)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_broker_killed_again_and_again_loses_nothing_confirmed(
    make_site: MakeSite, own_broker: RabbitProcess
) -> None:
    """T4: five kills of the broker during 2,000 events lose no confirmed message."""
    site = make_site(own_broker.url)
    own_broker.wait_until_on_disk(*site.queues, site.sink.queue)
    site.start_worker()
    site.start_worker()
    for kill in range(5):
        site.ask(dict(many(400 * kill, 400 * kill + 400)))
        own_broker.kill()
        own_broker.start()
    site.wait_until_ended(seconds=200)
    site.judge("T4 SIGKILL of the broker", events=2_000, kills=5)
