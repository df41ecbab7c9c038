"""Pause, resume and concurrency with a real broker, real workers that are killed, and the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.emulator.testing import Emulator
from tests.chaos.site import Site, many, wait_for
from tests.forks import running_emulator
from tests.twins.events import PROJECT

pytestmark = pytest.mark.broker

NOTICED = 25.0
"""Seconds within which a busy machine's worker has noticed; 5 are promised, on a machine that has time."""

OTHER = "0000000000000000000000000000cafe"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an emulator whose backups take a second."""
    with running_emulator(settle=1.0) as running:
        yield running


@pytest.fixture
def site(amqp_url: str, unique: str, tmp_path: Path, emulator: Emulator) -> Iterator[Site]:
    """Run a site that tracks backups, without a worker yet."""
    settings = {"TRACK_BACKUPS": "true"}
    with Site(amqp_url, emulator, tmp_path, unique, settings, delays=(1, 2, 4)) as running:
        yield running


def set_by(site: Site, *arguments: str) -> Any:
    """Run a command of an operator, and return what it says that holds now."""
    done = site.run(*arguments, "--json")
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def logged(site: Site, action: str, times: int = 1) -> bool:
    """Return whether each running worker has logged an action so often."""
    return all(site.logs[each.pid].read_text().count(f'"{action}"') >= times for each in site.workers)


def wait_until_logged(site: Site, action: str) -> float:
    """Wait until each running worker has logged an action; return how long that took."""
    return wait_for(lambda: logged(site, action), seconds=NOTICED, what=site.log_tail)


def delayed(site: Site) -> int:
    """Return how many messages are in the wait queues."""
    counts = site.counts()
    return sum(counts[name] for name in site.queues if ".wait." in name)


def test_a_pause_holds_for_all_workers_and_restarts_until_it_is_resumed(
    site: Site, emulator: Emulator
) -> None:
    """Two workers begin no backup once they know, nor when they start again with events in the queue."""
    for _ in range(2):
        site.start_worker()
    site.ask(dict(many(0, 20)))
    site.wait_until_ended(seconds=60)
    site.ask(dict(many(20, 50)))

    assert "upgrade" == set_by(site, "pause", "--reason", "upgrade")["paused"]["reason"]
    print(f"\nnoticed after {wait_until_logged(site, 'control.paused'):.1f} s")
    wait_for(lambda: not site.rabbit.count(site.name), seconds=30, what=site.counts)
    made = emulator.count_backups()

    for worker in site.workers:
        site.kill(worker)
    site.ask(dict(many(50, 80)))
    for _ in range(2):
        site.start_worker()
    wait_until_logged(site, "control.paused")
    wait_for(lambda: delayed(site) >= 80 - made, seconds=60, what=site.counts)
    begun = {event for event, (snapshot, _) in many(0, 80) if snapshot in snapshots(emulator)}
    site.wait_until_ended(seconds=60, events=begun)
    assert made == emulator.count_backups() == len(begun)

    assert set_by(site, "resume")["paused"] is None
    site.wait_until_ended(seconds=60)
    site.judge("pause", made_before=made)


def snapshots(emulator: Emulator) -> set[str]:
    """Return the snapshots of which the API has made a backup."""
    return {each["snapshot_id"] for each in emulator.backups()}


def test_the_pause_of_a_project_lets_the_others_go_on(site: Site, emulator: Emulator) -> None:
    """Events of the paused project wait, and those of another one end meanwhile."""
    site.start_worker()
    wait_for(lambda: logged(site, "consume.started"), seconds=30, what=site.log_tail)
    set_by(site, "pause", "--project", PROJECT.upper())
    wait_until_logged(site, "control.paused")
    ours, others = dict(many(0, 5)), dict(many(5, 10, project_id=OTHER))
    site.ask(ours | others)
    site.wait_until_ended(seconds=60, events=set(others))
    wait_for(lambda: delayed(site) == 5, seconds=30, what=site.counts)
    assert {snapshot for snapshot, _ in others.values()} == snapshots(emulator)

    set_by(site, "resume", "--project", PROJECT)
    site.wait_until_ended(seconds=60)
    site.judge("pause of a project")


def test_concurrency_is_set_for_a_running_worker(site: Site, emulator: Emulator) -> None:
    """With one message in hand the calls of a slow API follow one another; by default they overlap again."""
    site.start_worker()
    wait_for(lambda: logged(site, "consume.started"), seconds=30, what=site.log_tail)
    assert 1 == set_by(site, "concurrency", "1")["concurrency"]
    wait_until_logged(site, "control.concurrency")
    site.ask(dict(many(0, 12)))
    site.wait_until_ended(seconds=60)
    assert 1 == most_at_once(site)

    set_by(site, "concurrency", "default")
    wait_for(lambda: logged(site, "control.concurrency", 2), seconds=NOTICED, what=site.log_tail)
    site.judge("concurrency")


def most_at_once(site: Site) -> int:
    """Return how many messages the worker may have in hand, by its log."""
    [line] = [
        json.loads(line)
        for line in site.logs[site.workers[0].pid].read_text().splitlines()
        if '"control.concurrency"' in line
    ]
    return int(line["message"].rpartition(" ")[2])


def test_a_queue_without_a_shared_ledger_cannot_be_paused(site: Site) -> None:
    """With LEDGER_URL=none the command says so, and so does the worker at its start."""
    site.start_worker(LEDGER_URL="none")
    wait_for(lambda: logged(site, "control.none"), seconds=30, what=site.log_tail)
    site.settings = {**site.settings, "LEDGER_URL": "none"}
    for command in (("pause",), ("resume",), ("concurrency", "3")):
        done = site.run(*command)
        assert 2 == done.returncode
        assert "LEDGER_URL: is none, so workers cannot be paused" in done.stderr
