"""``waiting retry-now`` and ``cancel`` with a real broker, and workers and operators that are killed."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.ledger.stores import open_ledger
from infra.emulator.testing import Emulator
from tests.chaos.site import Site, many, wait_for
from tests.forks import running_emulator
from tests.integration.test_pause import delayed, logged, set_by, wait_until_logged

pytestmark = [pytest.mark.broker, pytest.mark.timeout(400)]

LADDER = (20, 40)
"""Delays in seconds that are long for a test: what comes back earlier was brought back."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an emulator."""
    with running_emulator(settle=0.2) as running:
        yield running


@pytest.fixture
def site(amqp_url: str, unique: str, tmp_path: Path, emulator: Emulator) -> Iterator[Site]:
    """Run a site with a worker, whose queue is paused and whose events wait."""
    settings = {"TRACK_BACKUPS": "false"}
    with Site(amqp_url, emulator, tmp_path, unique, settings, delays=LADDER) as running:
        running.start_worker(quick=True)
        wait_for(lambda: logged(running, "consume.started"), seconds=30, what=running.log_tail)
        set_by(running, "pause")
        wait_until_logged(running, "control.paused")
        yield running


def ask(site: Site, count: int) -> list[str]:
    """Publish events, and wait until all wait; return their snapshots."""
    site.ask(dict(many(0, count)))
    wait_for(lambda: delayed(site) == count, seconds=60, what=site.counts)
    return [snapshot for snapshot, _ in (each for _, each in many(0, count))]


def end_pause(site: Site) -> None:
    """End the pause in the ledger only, and wait until the worker knows it."""

    async def resume() -> None:
        ledger = open_ledger(site.environment["LEDGER_URL"], lease_seconds=2)
        await ledger.resume(site.name)
        await ledger.aclose()

    asyncio.run(resume())
    wait_until_logged(site, "control.resumed")


def judge(site: Site, title: str, **notes: Any) -> None:
    """Wait until the copies are gone from the wait queues too, and judge."""
    wait_for(lambda: not sum(site.unfinished().values()), seconds=120, what=site.unfinished)
    site.judge(title, **notes)


def waiting(site: Site, *arguments: str) -> list[Any]:
    """Run a subcommand of ``waiting`` and return its documents."""
    done = site.run("waiting", *arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def replaced(site: Site) -> int:
    """Return how many messages the ledger has as brought back."""
    with contextlib.closing(sqlite3.connect(site.folder / "ledger.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM ledger_replaced").fetchone()[0])


def acts(site: Site) -> list[tuple[str, int]]:
    """Return what the audit journal has: the acts, and to how many each was done."""
    with contextlib.closing(sqlite3.connect(site.folder / "ledger.db")) as connection:
        return connection.execute("SELECT what, number FROM ledger_act").fetchall()


def test_what_waits_is_brought_back_at_once_and_backed_up_once(site: Site, emulator: Emulator) -> None:
    """Neither a worker that is killed in the middle nor the copies that come back later change that."""
    ask(site, 120)
    end_pause(site)
    [found] = waiting(site, "retry-now", "--reason", "paused")
    assert ("retry now", found["returned"]) in acts(site)
    assert found["returned"] > 0
    wait_for(lambda: emulator.count_backups() > 10, seconds=60, what=site.counts)
    site.kill(site.workers[0])
    site.start_worker(quick=True)
    site.wait_until_ended(seconds=120)
    judge(site, "retry-now", brought_back=found["returned"])
    assert 120 == emulator.count_backups()


def test_cancelled_events_end_once_each(site: Site, emulator: Emulator) -> None:
    """Each has one outcome and one dead letter and no backup; the others are backed up after the resume."""
    snapshots = ask(site, 6)
    found = waiting(site, "cancel", "--yes", *snapshots[:3])
    assert ["cancelled"] * 3 == [each["what"] for each in found]
    assert ("cancel", 3) in acts(site)
    wait_for(lambda: site.rabbit.count(site.queues[-1]) == 3, seconds=30, what=site.counts)
    set_by(site, "resume")
    site.wait_until_ended(seconds=120)
    wait_for(lambda: not sum(site.unfinished().values()), seconds=90, what=site.unfinished)
    site.stop()
    site.sink.poll(0.5)
    failed = [each for each in site.sink.outcomes if each["type"] == "backup.failed"]
    assert sorted(snapshots[:3]) == sorted(each["subject"] for each in failed)
    assert {"cancelled"} == {each["data"]["error"]["category"] for each in failed}
    assert sorted(snapshots[3:]) == sorted(each["snapshot_id"] for each in emulator.backups())
    assert 3 == site.rabbit.count(site.queues[-1])


def test_an_operator_who_is_killed_loses_and_doubles_nothing(site: Site, emulator: Emulator) -> None:
    """Whatever had been brought back when the command was killed, each event is backed up once."""
    ask(site, 200)
    end_pause(site)
    operator = site.begin("waiting", "retry-now", "--all")
    wait_for(lambda: replaced(site) > 0, seconds=60, what=site.counts)
    operator.kill()
    operator.wait(30)
    site.wait_until_ended(seconds=120)
    judge(site, "retry-now killed", brought_back=replaced(site))
    assert 200 == emulator.count_backups()
