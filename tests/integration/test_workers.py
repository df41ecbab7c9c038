"""What real workers report of themselves: while they run, when they stop, and when they are killed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from handler.backup.workers import Workers
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger
from infra.emulator.testing import Emulator, running_emulator
from tests.chaos.site import Site, wait_for
from tests.integration.doctor.looking import run

pytestmark = pytest.mark.broker

T = TypeVar("T")
SECONDS = 60.0


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an emulator."""
    with running_emulator() as running:
        yield running


@pytest.fixture
def site(amqp_url: str, unique: str, tmp_path: Path, emulator: Emulator) -> Iterator[Site]:
    """Run a site without a worker yet."""
    with Site(amqp_url, emulator, tmp_path, unique) as running:
        yield running


def ask(site: Site, work: Callable[[StoredLedger], Awaitable[T]]) -> T:
    """Do work with the workers' ledger."""

    async def opened() -> T:
        ledger = open_ledger(site.environment["LEDGER_URL"], lease_seconds=20)
        try:
            return await work(ledger)
        finally:
            await ledger.aclose()

    return asyncio.run(opened())


def reported(site: Site) -> Workers:
    """Return the workers that the ledger knows."""
    return ask(site, lambda ledger: ledger.workers(site.name))


def wait_until_reported(site: Site, *states: str) -> None:
    """Wait until as many workers have reported these states."""

    def seen() -> bool:
        return sorted(states) == sorted(each.state for each in reported(site).records)

    wait_for(seen, seconds=SECONDS, what=lambda: [reported(site), site.log_tail()])


def test_workers_report_until_they_stop_and_doctor_counts_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two consume, are paused, and one stops orderly while the other is killed: its row stays."""
    stops, killed = site.start_worker(), site.start_worker()
    wait_until_reported(site, "consuming", "consuming")
    assert {stops.pid, killed.pid} == {each.pid for each in reported(site).records}

    ask(site, lambda ledger: ledger.pause(site.name, reason="upgrade"))
    wait_until_reported(site, "paused", "paused")
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    report = run()
    report.one("broker", "ok", f"queue {site.name}", "of 2 workers")
    report.one("ledger", "ok", "workers", "paused")
    assert not any("start a worker" in each.remedy for each in report.findings), report

    stops.terminate()
    killed.kill()
    wait_until_reported(site, "paused")
    assert [killed.pid] == [each.pid for each in reported(site).records]
