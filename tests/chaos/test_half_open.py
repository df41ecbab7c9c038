"""Half-open links and paused brokers: noticed within 15 s, and left within 20 for another address."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from handler.broker.connection import HEARTBEAT
from infra.local.server import RabbitProcess
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.proxy import TcpProxy

pytestmark = pytest.mark.broker

NOTICED_SECONDS = 15
LEFT_SECONDS = 20


@contextmanager
def _proxy(url: str) -> Iterator[tuple[TcpProxy, str]]:
    """Yield a proxy of a broker, and the broker's URL through it."""
    parts = urlsplit(url)
    with TcpProxy(parts.hostname or "", parts.port or 5672) as proxy:
        login = f"{parts.username}:{parts.password}"
        yield proxy, f"amqp://{login}@{proxy.host}:{proxy.port}{parts.path or '/'}"


def _log(site: Site) -> str:
    return site.logs[site.workers[0].pid].read_text(errors="replace")


def _connected(site: Site) -> list[int]:
    """Return the ports that the worker has connected to, in order."""
    return [int(port) for port in re.findall(r"connected to \S+ \S+ at [^:]*:(\d+)", _log(site))]


def _lost(site: Site) -> list[str]:
    """Return the reasons for which the worker has lost a broker."""
    lines = (json.loads(line) for line in _log(site).splitlines() if "broker.lost" in line)
    return [line["message"] for line in lines]


def _consuming(site: Site) -> int:
    return _log(site).count("consume.started")


def test_a_half_open_link_is_left_for_the_other_address(make_site: MakeSite, amqp_url: str) -> None:
    """With its own heartbeat the worker notices lost bytes within 15 s, and consumes elsewhere within 20."""
    with _proxy(amqp_url) as (one, first), _proxy(amqp_url) as (two, second):
        site = make_site(amqp_url)
        site.settings = {"AMQP_URL": f"{first},{second}"}
        site.start_worker()
        wait_for(lambda: bool(_consuming(site)), seconds=30, what=site.log_tail)
        at = one if _connected(site) == [one.port] else two
        at.swallow(True)
        began = time.monotonic()
        site.ask(dict(many(0, 30)))
        wait_for(lambda: bool(_lost(site)), seconds=NOTICED_SECONDS, what=site.log_tail)
        noticed = time.monotonic() - began
        left = LEFT_SECONDS - noticed
        wait_for(lambda: _consuming(site) == 2, seconds=left, what=site.log_tail)
        left = time.monotonic() - began
        assert {one.port, two.port} == set(_connected(site))
        at.cut_all()
        site.wait_until_ended(seconds=30)
        site.judge("half-open", noticed=f"{noticed:.1f} s", left=f"{left:.1f} s")


def test_a_broker_that_blocks_publishers_is_not_left(
    make_site: MakeSite, amqp_url: str, own_broker: RabbitProcess
) -> None:
    """A broker in an alarm reads nothing for longer than two heartbeats, and the connection stays."""
    site = make_site(own_broker.url, VBS_TIMEOUT="40")
    site.settings = {**site.settings, "AMQP_URL": f"{own_broker.url},{own_broker.url}?locale=en_US"}
    site.start_worker()
    wait_for(lambda: bool(_consuming(site)), seconds=30, what=site.log_tail)
    # Longer than rabbitmqctl takes on a busy machine: only who publishes is blocked.
    site.emulator.set_faults([{"route": "create", "effect": "delay", "seconds": 20.0}])
    site.ask(dict(many(0, 30)))
    wait_for(lambda: not site.rabbit.count(site.name), seconds=40, what=site.counts)
    own_broker.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        wait_for(lambda: "broker.blocked" in _log(site), seconds=40, what=site.log_tail)
        site.sink.poll(2 * HEARTBEAT + 4)
        assert [] == _lost(site)
    finally:
        own_broker.ctl("set_vm_memory_high_watermark", "0.4")
    site.wait_until_ended(seconds=60)
    assert [] == _lost(site)
    site.judge("blocked")


def test_a_paused_broker_is_left_for_the_other_address(
    make_site: MakeSite, amqp_url: str, own_broker: RabbitProcess
) -> None:
    """A broker process that stands still is noticed within 15 s and left within 20, then tried no more."""
    with _proxy(amqp_url) as (other, url):
        site = make_site(amqp_url)
        site.settings = {"AMQP_URL": f"{own_broker.url},{url}"}
        site.start_worker()
        wait_for(lambda: bool(_consuming(site)), seconds=30, what=site.log_tail)
        if _connected(site) == [other.port]:
            other.cut_all()
            wait_for(lambda: _consuming(site) == 2, seconds=30, what=site.log_tail)
        assert own_broker.port == _connected(site)[-1]
        before, losses = _consuming(site), len(_lost(site))
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            wait_for(lambda: len(_lost(site)) > losses, seconds=NOTICED_SECONDS, what=site.log_tail)
            noticed = time.monotonic() - began
            wait_for(lambda: _consuming(site) > before, seconds=LEFT_SECONDS - noticed, what=site.log_tail)
            left = time.monotonic() - began
            site.ask(dict(many(0, 30)))
            site.wait_until_ended(seconds=30)
            other.cut_all()
            wait_for(lambda: _consuming(site) > before + 1, seconds=20, what=site.log_tail)
            assert other.port == _connected(site)[-1], "the paused broker was waited for"
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        site.judge("paused", noticed=f"{noticed:.1f} s", left=f"{left:.1f} s")
