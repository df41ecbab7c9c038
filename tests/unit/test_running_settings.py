"""Tests of the settings of limits, and of what shows how far they are used."""

from pathlib import Path

import pytest

from handler.backup.limits import load_limits
from handler.backup.running import Limit
from handler.backup.selection import Selection
from handler.bootstrap import group_limits
from handler.doctor.ledger import running_finding
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger.room import Running, RunningSummary
from handler.settings import Settings, load_settings
from handler.status.running import LINE_SECONDS, RunningWatch
from handler.telemetry.counters import Counters
from tests.twins.events import PROJECT
from tests.unit.events.forms import load, read_snapshot

RULES = """
[[limit]]
name = "gold"
match = { project = "8d2c*" }
max_running = 4

[[limit]]
name = "zones"
per = "availability_zone"
max_running = 2
"""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ledger_url": "none"}, "LEDGER_URL=none keeps none"),
        ({"track_backups": "false"}, "TRACK_BACKUPS=true"),
    ],
)
def test_a_limit_that_cannot_be_counted_is_refused(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    """Without a ledger, or without tracking, a limit stops the program with one line that names a fix."""
    with pytest.raises(SettingsError, match=f"^MAX_RUNNING: .*{says}"):
        load_settings(_env_file=None, max_running="20", **settings)
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    with pytest.raises(SettingsError, match=rf"^RULES_FILE: \[\[limit\]\]: .*{says}"):
        group_limits(load_settings(_env_file=None, rules_file=str(rules), **settings))


def test_a_snapshot_counts_in_each_limit_that_matches(tmp_path: Path) -> None:
    """A Cinder notification counts for its cloud, its group and its zone."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    selection = Selection((), (), limits=load_limits(rules), max_running=20)

    found = read_snapshot(load("cinder-wrapped"))

    expected = [Limit("MAX_RUNNING", 20), Limit("gold", 4), Limit("zones/az-b", 2)]
    assert expected == selection.select(found, PROJECT).limits


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[limit]]\nmax_running = 4\n", "limit at line 1: name: is missing"),
        ("\n[[limit]]\nname = 'a'\n", "limit at line 2: max_running: is missing"),
        ("[[limit]]\nname = 'a'\nmax_running = 0\n", "max_running: must be a whole number from 1 to 10000"),
        ("[[limit]]\nname = 'a'\nmax_running = true\n", "max_running: must be a whole number"),
        ("[[limit]]\nname = 'a/b'\nmax_running = 1\n", "name: must be 1 to 64 letters"),
        ("[[limit]]\nname = 'MAX_RUNNING'\nmax_running = 1\n", "and not MAX_RUNNING"),
        ("[[limit]]\nname = 'a'\nper = 'zone'\nmax_running = 1\n", 'per: must be "project" or'),
        ("[[limit]]\nname = 'a'\nmax_runing = 1\n", "a limit has name, match, per and max_running"),
        ("[[limit]]\nname = 'a'\nmax_running = 1\n" * 2, "two limits have the name a"),
    ],
)
def test_the_error_for_a_wrong_limit_names_the_place(tmp_path: Path, text: str, says: str) -> None:
    """The error names RULES_FILE, the line and what is wrong."""
    rules = tmp_path / "rules.toml"
    rules.write_text(text)

    with pytest.raises(SettingsError, match=r"^RULES_FILE") as raised:
        load_limits(rules)

    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("running", "waiting", "state"),
    [
        (Running(3, 1), 0, "ok"),
        (Running(20, 3), 900, "ok"),
        (Running(20, 20), 900, "warning"),
        (Running(20, 20), 0, "ok"),
        (Running(25, 21), 0, "warning"),
    ],
)
def test_doctor_warns_if_the_limit_is_used_up_for_long(running: Running, waiting: int, state: str) -> None:
    """All slots in use for over ten minutes while others wait, or more than the limit, is a warning."""
    found = running_finding(RunningSummary({"MAX_RUNNING": running}, waiting), 20)

    assert state == found.state


class Ledger:
    """A ledger that counts what the test says."""

    def __init__(self, *counts: RunningSummary) -> None:
        self.counts = list(counts)

    async def running(self) -> RunningSummary:
        """Return the next counts."""
        if not self.counts:
            raise LedgerUnavailable("down")
        return self.counts.pop(0)


@pytest.mark.anyio
async def test_the_watch_counts_and_logs_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Metrics have all groups of a limit together; the log has one line a minute, and one at the end."""
    counters, now = Counters(), [0.0]
    full = RunningSummary({"MAX_RUNNING": Running(20, 0), "p/a": Running(1, 0), "p/b": Running(2, 0)}, 7)
    watch = RunningWatch(Ledger(full, full, full, RunningSummary({}, 0)), counters, lambda: now[0])

    with caplog.at_level("INFO"):
        await watch.count()
        assert ({"MAX_RUNNING": 20, "p": 3}, 7) == (counters.running, counters.waiting_for_room)
        await watch.count()
        now[0] = LINE_SECONDS
        await watch.count()
        await watch.count()

    assert ["room.full", "room.full", "room.free"] == [record.action for record in caplog.records]  # type: ignore[attr-defined] # extra


def test_the_limit_is_unset_by_default() -> None:
    """Without MAX_RUNNING no claim asks for a slot."""
    assert Settings().max_running is None
