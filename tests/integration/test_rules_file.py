"""RULES_FILE with a running worker, and an API that keeps Cinder's rules."""

from pathlib import Path

import pytest

from infra.emulator.testing import running_emulator
from tests.chaos.site import Site, many
from tests.twins.events import made_up_id

pytestmark = pytest.mark.broker

RULES = """
[[rule]]
match = { snapshot_name = "nightly-*" }
set = { name = "gold-{snapshot_id}", description = "kept for a year", incremental = "auto" }

[[rule]]
skip = "only nightly snapshots are backed up"
"""


def test_a_second_backup_of_a_volume_is_incremental(amqp_url: str, unique: str, tmp_path: Path) -> None:
    """The first backup of a volume is full, the second is incremental, since Cinder requires a parent."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    settings = {"RULES_FILE": str(rules), "TRACK_BACKUPS": "true"}
    volume = made_up_id("volume", 0)
    with (
        running_emulator(rules="cinder", settle=0.1) as emulator,
        Site(amqp_url, emulator, tmp_path, unique, settings, delays=(1,)) as site,
    ):
        site.start_worker()
        for number in (1, 2):
            site.ask(dict(many(number, number + 1, volume_id=volume)))
            site.wait_until_ended(seconds=60)
        site.ask(dict(many(3, 4, volume_id=volume, snapshot_name="by-hand")))
        site.wait_until_ended(seconds=60)

        requests = [each["request"]["backup"] for each in emulator.backups()]
        told = [each["type"] for each in site.sink.outcomes if each["type"] != "backup.accepted"]
    names = [f"gold-{made_up_id('snapshot', number)}" for number in (1, 2)]
    assert names == [request["name"] for request in requests]
    assert [False, True] == [request["incremental"] for request in requests]
    assert ["backup.completed", "backup.completed", "backup.skipped"] == told
