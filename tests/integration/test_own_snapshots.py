"""The backup service's own snapshots: each backup makes one, which is reported like any other snapshot."""

from collections import Counter
from pathlib import Path

import pytest

from infra.emulator.own_snapshots import PREFIXES
from infra.emulator.testing import running_emulator
from tests.chaos.site import Site, many, wait_for

pytestmark = pytest.mark.broker

EVENTS = 2 * (len(PREFIXES) + 1)
REPORTS = 2
"""Each own snapshot is reported by a notification with its name, and by a trace without."""


def test_a_backup_that_makes_a_snapshot_leads_to_no_other_backup(
    amqp_url: str, unique: str, tmp_path: Path
) -> None:
    """There is exactly one backup for each snapshot, and every report of an own snapshot is skipped."""
    target = f"{unique}.in:snapshot.completed"
    with (
        running_emulator(settle=0.2, announce=amqp_url, announce_to=target) as emulator,
        Site(amqp_url, emulator, tmp_path, unique, {"TRACK_BACKUPS": "true"}, delays=(1, 2)) as site,
    ):
        site.start_worker()
        site.ask(dict(many(0, EVENTS)))
        site.wait_until_ended(seconds=60)

        def types() -> Counter[str]:
            site.sink.poll(0.2)
            return Counter(each["type"] for each in site.sink.outcomes)

        def all_ended() -> bool:
            found = types()
            return found["backup.completed"] + found["backup.skipped"] >= EVENTS * (1 + REPORTS)

        wait_for(all_ended, seconds=60, what=lambda: (types(), site.log_tail()))
        wait_for(lambda: not sum(site.unfinished().values()), seconds=30, what=site.unfinished)

        assert EVENTS == emulator.count_backups()
        expected = {
            "backup.accepted": EVENTS,
            "backup.completed": EVENTS,
            "backup.skipped": EVENTS * REPORTS,
        }
        assert expected == types()
