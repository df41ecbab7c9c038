"""Patterns meet the names that Cinder, other programs and people give."""

import time

import pytest

from events.snapshot import SnapshotCompleted, SnapshotEvent
from handler.backup.patterns import matches
from handler.backup.rules import Rule
from handler.backup.selection import Selection
from handler.settings import OWN_SNAPSHOTS, load_settings
from tests.unit.backup.snapshot_names import NAMES, UUID, Named

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
COMPOSED, DECOMPOSED = "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher", "bu\N{COMBINING DIAERESIS}cher"


def event(name: str | None) -> SnapshotEvent:
    """Return the event of a snapshot with this name."""
    snapshot = SnapshotCompleted(project_id=PROJECT, volume_id=UUID, snapshot_id=UUID, snapshot_name=name)
    return SnapshotEvent("e1", "test", "snapshot.completed", "cloudevents", snapshot)


def skipped(name: str | None, skip_snapshots: str | None = None) -> bool:
    """Return whether a snapshot is skipped by its name."""
    settings = load_settings(_env_file=None, skip_snapshots=skip_snapshots)
    return Selection(settings.skip_snapshots, ()).select(event(name), PROJECT).skip is not None


@pytest.mark.parametrize("named", NAMES, ids=lambda named: f"{str(named.name)[:40]!r} of {named.source[:30]}")
def test_by_default_only_the_clouds_own_snapshots_are_skipped(named: Named) -> None:
    """The snapshots of the backup service and Cinder's temporary ones are skipped, all others are not."""
    assert named.skipped == skipped(named.name)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("nightly-*", "nightly-db[1]", "weekly-nightly-"),
        ("*", "", None),
        ("?", "x", ""),
        ("a*b", "a\n\N{SNOWMAN}b", "ab\n"),
        ("db[1]", "db[1]", "db1"),
        ("[prod]*", "[prod] db", "p"),
        ("[!a]", "[!a]", "b"),
        ("[", "[", "[["),
        (r"100\%\*", "100%*", "100%x"),
        (r"a\?", "a?", "ab"),
        (r"a\[b", "a[b", "a\\[b"),
        (r"a\\b", r"a\b", "a\\\\b"),
        ("a\\", "a\\", "a"),
        (".*", ".hidden", "xhidden"),
        ("^a$", "^a$", "a"),
        ("a.b", "a.b", "axb"),
        ("(a|b)", "(a|b)", "a"),
        ("Daily", "Daily", "daily"),
        (COMPOSED, DECOMPOSED, "bucher"),
        (DECOMPOSED, COMPOSED, "BÜCHER"),
        ("b?cher", DECOMPOSED, "buucher"),
        ("*-\N{SNOWMAN}", "x-\N{SNOWMAN}", "x-"),
    ],
)
def test_only_star_and_question_mark_mean_something(pattern: str, fitting: str, other: str | None) -> None:
    """Everything else in a pattern stands for itself, and a backslash takes those two for themselves."""
    assert matches(fitting, pattern)
    assert other is None or not matches(other, pattern)


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("a*, b ,", ("a*", "b")),
        (r"a\, b,c", (r"a\, b", "c")),
        ("[a,b]", ("[a", "b]")),
        ("one\ntwo", ("one", "two")),
        ("a\\\\,b", ("a\\\\", "b")),
        ("a\\", ("a\\",)),
        ("before upgrade *", ("before upgrade *",)),
    ],
)
def test_patterns_of_a_setting_have_commas_between_them(setting: str, wanted: tuple[str, ...]) -> None:
    """A comma of a name is written with a backslash."""
    assert wanted == load_settings(_env_file=None, skip_snapshots=setting).skip_snapshots


@pytest.mark.parametrize(
    ("setting", "name"),
    [(r"old\, unused", "old, unused"), ("[tmp] x", "[tmp] x"), (r"\*\*\*", "***"), (r"a\\b", r"a\b")],
)
def test_a_name_can_be_written_literally(setting: str, name: str) -> None:
    """Each name can be named by a pattern that no other name fits."""
    assert skipped(name, setting)
    assert not skipped(f"{name}x", setting)


@pytest.mark.parametrize(
    "match",
    [
        {"snapshot_name": "[prod]*"},
        {"snapshot_name": f"*{DECOMPOSED}"},
        {"metadata": {"note": r"50\*[x]"}},
        {"volume": f"{UUID[:8].upper()}-*"},
        {"project": PROJECT.upper()},
    ],
)
def test_the_patterns_of_rules_are_the_same(match: dict[str, object]) -> None:
    """Rules take brackets for themselves too; ids have no case."""
    rule = Rule.model_validate({"match": match, "skip": "chosen"})
    found = event(f"[prod] {COMPOSED}")._replace(metadata={"note": "50*[x]"})

    assert "chosen" == Selection((), (), [rule]).select(found, PROJECT).skip


def test_no_name_takes_long() -> None:
    """A pattern with many stars is decided at once, also for a long name that does not fit."""
    began = time.process_time()

    assert not matches("a" * 1024, "*a" * 40 + "b")
    assert time.process_time() - began < 1


def test_the_defaults_are_the_documented_ones() -> None:
    """The default begins with the two prefixes of the backup services, and Cinder's prefix."""
    assert ("autobk_snapshot_*", "manualbk_snapshot_*", "backup-snap-*") == OWN_SNAPSHOTS[:3]
