"""T31: ``MAX_RUNNING``: never more backups in progress than may be, shared fairly, over a killed worker."""

from collections import Counter

import pytest

from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, wait_for
from tests.twins.events import made_up_id, message

pytestmark = pytest.mark.broker

SETTINGS = {"TRACK_BACKUPS": "true", "CONCURRENCY": "32"}


def _events(site: Site, snapshots: int, projects: int) -> None:
    """Publish so many events, those of one project after those of the other."""
    numbers = sorted(range(snapshots), key=lambda number: number % projects)
    site.ask(
        {
            made_up_id("event", number): (
                made_up_id("snapshot", number),
                message(number, project_id=f"project-{number % projects}"),
            )
            for number in numbers
        }
    )


def _share(site: Site, limit: int) -> float:
    """Return by which part a share differs at most from an equal one, while all projects have snapshots.

    Before the first slots are shared, the project whose events came first has them all.
    """
    made = [each["project_id"] for each in site.emulator.backups()][2 * limit :]
    totals = Counter(made)
    left, counts = dict(totals), Counter[str]()
    for project in made:
        counts[project] += 1
        left[project] -= 1
        if not left[project]:
            break
    equal = counts.total() / len(totals)
    return max(abs(counts[project] - equal) for project in totals) / equal


def _t31(site: Site, *, snapshots: int, projects: int, limit: int, seconds: float) -> None:
    _events(site, snapshots, projects)
    worker = site.start_worker(MAX_RUNNING=str(limit))
    wait_for(lambda: site.emulator.count_backups() > snapshots // 2, seconds=seconds, what=site.counts)
    site.kill(worker)
    site.start_worker(MAX_RUNNING=str(limit))
    took = site.wait_until_ended(seconds=seconds)
    share, most = _share(site, limit), site.emulator.most_in_progress()
    site.judge(
        "T31 limit of backups in progress",
        snapshots=snapshots,
        most_in_progress=most,
        unfair=f"{share:.1%}",
        after_the_kill=f"{took:.0f} s",
    )
    assert most <= limit
    assert share <= (0.1 if snapshots > 10 * limit * projects else 0.5)


def test_the_limit_holds_over_a_killed_worker(make_site: MakeSite, amqp_url: str) -> None:
    """T31: with MAX_RUNNING=4, of 16 snapshots of 2 projects never more than 4 are in progress."""
    site = make_site(amqp_url, **SETTINGS)
    _t31(site, snapshots=16, projects=2, limit=4, seconds=60)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_two_thousand_snapshots_share_twenty_slots(make_site: MakeSite, amqp_url: str) -> None:
    """T31 in full: MAX_RUNNING=20 with 2,000 snapshots of 5 projects, and a worker that is killed."""
    site = make_site(amqp_url, delays=(1, 2, 60), **SETTINGS)
    _t31(site, snapshots=2_000, projects=5, limit=20, seconds=900)
