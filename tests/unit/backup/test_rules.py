"""``RULES_FILE``: what the operator's rules select, and the errors for a wrong file."""

import json
import re
from pathlib import Path

import pytest

from events.snapshot import BackupOptions, SnapshotCompleted, SnapshotEvent
from handler.backup.request import backup_request
from handler.backup.rules import Rule, load_rules
from handler.backup.selection import Selection
from handler.errors import SettingsError

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"


def event(*, name: str = "nightly-db01", size: int | None = 40, **metadata: str) -> SnapshotEvent:
    """Return the event of a completed snapshot for the rules to match."""
    snapshot = SnapshotCompleted(
        project_id=PROJECT, volume_id=VOLUME, snapshot_id=SNAPSHOT, snapshot_name=name, size_gb=size
    )
    return SnapshotEvent("e1", "test", "snapshot.completed", "cloudevents", snapshot, metadata=metadata)


def selection(*rules: dict[str, object]) -> Selection:
    """Return a selection with these rules, written as in the file."""
    return Selection(("autobk_snapshot_*",), (), [Rule.model_validate(rule) for rule in rules])


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({}, True),
        ({"project": PROJECT}, True),
        ({"project": "other"}, False),
        ({"volume": "0e9a*"}, True),
        ({"snapshot_name": "nightly-*"}, True),
        ({"snapshot_name": "weekly-*"}, False),
        ({"min_size_gb": 40, "max_size_gb": 40}, True),
        ({"min_size_gb": 41}, False),
        ({"max_size_gb": 39}, False),
        ({"metadata": {"policy": "gold"}}, True),
        ({"metadata": {"policy": "silver"}}, False),
        ({"metadata": {"absent": "?*"}}, False),
    ],
)
def test_a_rule_matches_by_all_that_it_names(match: dict[str, object], fits: bool) -> None:
    """A rule applies only if each of its conditions matches the snapshot."""
    choice = selection({"match": match, "skip": "chosen"}).select(event(policy="gold"), PROJECT)

    assert ("chosen" if fits else None) == choice.skip


def test_an_unknown_size_fits_no_limit() -> None:
    """A rule with a size limit does not apply to a snapshot of unknown size."""
    choice = selection({"match": {"min_size_gb": 0}, "skip": "big"}).select(event(size=None), PROJECT)

    assert choice.skip is None


def test_the_first_match_decides() -> None:
    """Rules are checked from top to bottom, and only the first match applies."""
    choice = selection({"skip": "first"}, {"skip": "second"}).select(event(), PROJECT)

    assert "first" == choice.skip


def test_a_rule_goes_before_the_event() -> None:
    """The request has what the rule sets; what only the event sets stays."""
    choice = selection({"set": {"description": "a year", "force": True}}).select(event(), PROJECT)
    options = BackupOptions(name="monthly", description="a day", force=False)

    request = backup_request(event().snapshot.model_copy(update={"backup": options}), choice.overrides)

    assert ("monthly", "a year", True) == (request.name, request.description, request.force)


def test_a_rule_leaves_the_other_fields_as_they_are() -> None:
    """Without a name in rule and event the name is derived."""
    choice = selection({"set": {"description": "a year"}}).select(event(), PROJECT)

    assert f"nightly-db01-{SNAPSHOT}" == backup_request(event().snapshot, choice.overrides).name


def test_a_name_is_filled_in_and_fits() -> None:
    """Placeholders are filled in, and the snapshot's name is truncated where the result is too long."""
    choice = selection({"set": {"name": "gold-{snapshot_name}-{snapshot_id}"}}).select(
        event(name="ä b" * 99), PROJECT
    )

    name = backup_request(event().snapshot, choice.overrides).name

    assert 64 == len(name)
    assert name.startswith("gold-a-b")
    assert name.endswith(SNAPSHOT)


def test_auto_depends_on_the_backups_of_the_volume() -> None:
    """``incremental = "auto"`` sets no field of the request; a lookup at the API decides."""
    choice = selection({"set": {"incremental": "auto"}}).select(event(), PROJECT)

    assert choice.incremental_if_possible
    assert {} == choice.overrides


def test_metadata_and_zone_of_a_rule_are_in_the_request_and_not_in_the_body_of_v2() -> None:
    """The body has them only where the API knows these fields; our own metadata is beside the rule's."""
    metadata = {"policy": "gold", "Cost center": "7/8"}
    choice = selection({"set": {"metadata": metadata, "availability_zone": "az-2"}}).select(event(), PROJECT)

    request = backup_request(event().snapshot, choice.overrides, event_id="e1")

    own = {"snapshot-backup.snapshot_id": SNAPSHOT, "snapshot-backup.event_id": "e1"}
    assert backup_request(event().snapshot).body() == request.body()
    full = json.loads(request.body(metadata=True, zone=True))["backup"]
    assert ({**metadata, **own}, "az-2") == (full["metadata"], full["availability_zone"])


def test_snapshots_of_the_backup_service_are_skipped_whatever_the_rules_say() -> None:
    """No rule can select the service's own snapshots, since each backup would make another."""
    rules = selection({"set": {"force": True}})

    assert "SKIP_SNAPSHOTS" in str(rules.select(event(name="autobk_snapshot_7"), PROJECT).skip)
    assert "__system__enableActive" in str(rules.select(event(__system__enableActive="true"), PROJECT).skip)


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("[[rule]]\nskip = 'x'\n\n[[rule]]\nset = { name = 'auto-x' }\n", "rule at line 4: set"),
        ("[[rule]]\nset = { nmae = 'x' }\n", "rule at line 1: set.nmae: "),
        ("[[rule]]\n", "a rule has either set or skip"),
        ("[[rule]]\nskip = 'x'\nset = { force = true }\n", "a rule has either set or skip"),
        ("rule = 7\n", "RULES_FILE"),
        ("[[rules]]\nskip = 'x'\n", "unknown 'rules'"),
        ("[[rule]\n", "line 1"),
        ("[[rule]]\nset = { description = '<b>' }\n", "rule at line 1: set: description must be at most 255"),
        ("[[rule]]\nset = { name = 'a b' }\n", "rule at line 1: set: name must be 1 to 64 letters"),
        ("[[ rule ]] # x\nskip = ''\n", "rule at line 1: skip: must have 1 to 255 characters"),
        ("[[rule]]\nmatch = { min_size_gb = 1.5 }\nskip = 'x'", "match.min_size_gb: must be a whole number"),
        ("[[rule]]\nmatch = { min_size_gb = -1 }\nskip = 'x'", "match.min_size_gb: must be 0 or more"),
        ("[[rule]]\nmatch = { volume = 7 }\nskip = 'x'", "match.volume: must be a text in quotes"),
        ("[[rule]]\nmatch = { metadata = 7 }\nskip = 'x'", "match.metadata: must be a table in braces"),
        ("[[rule]]\nmatch = 7\nskip = 'x'", "match: must be a table in braces"),
        ("[[rule]]\nset = { incremental = 'always' }\n", 'set.incremental: must be true, false or "auto"'),
        ("[[rule]]\nset = { full_every = 7 }\n", 'set: full_every goes with incremental = "auto"'),
        (
            "[[rule]]\nset = { incremental = false, full_every = 7 }\n",
            'set: full_every goes with incremental = "auto"',
        ),
        *(
            (
                f"[[rule]]\nset = {{ incremental = 'auto', full_every = {wrong} }}\n",
                "set.full_every: must be a whole number, 1 or more",
            )
            for wrong in ("0", "-1", "true", "1.5", "'7'")
        ),
        ("[[rule]]\nset = { metadata = { 'a,b' = 'x' } }\n", "keys of metadata must be 1 to 255 letters"),
        ("[[rule]]\nset = { metadata = { '' = 'x' } }\n", "keys of metadata must be 1 to 255 letters"),
        (
            f"[[rule]]\nset = {{ metadata = {{ {'k' * 256} = 'x' }} }}\n",
            "keys of metadata must be 1 to 255 letters",
        ),
        (
            "[[rule]]\nset = { metadata = { 'snapshot-backup.event_id' = 'x' } }\n",
            "keys of metadata must not begin with snapshot-backup.",
        ),
        (
            f"[[rule]]\nset = {{ metadata = {{ k = '{'x' * 256}' }} }}\n",
            "values of metadata must be at most 255 characters",
        ),
        ("[[rule]]\nset = { metadata = { k = 7 } }\n", "set.metadata.k: must be a text in quotes"),
        ("[[rule]]\nset = { availability_zone = '' }\n", "set.availability_zone: must have 1 to 255"),
        (
            f"[[rule]]\nset = {{ availability_zone = '{'z' * 256}' }}\n",
            "set.availability_zone: must have 1 to 255",
        ),
        ("[[rule]]\nset = { force = 'maybe' }\n", "set.force: must be true or false"),
        ("[[rule]]\nnot toml", "is not TOML: "),
    ],
)
def test_the_error_for_a_wrong_file_names_the_place(tmp_path: Path, text: str, published: str) -> None:
    """The error names RULES_FILE and the place of what is wrong."""
    file = tmp_path / "rules.toml"
    file.write_text(text)

    with pytest.raises(SettingsError, match="RULES_FILE") as raised:
        load_rules(file)

    assert published in str(raised.value)
    assert str(raised.value).endswith('skip = "not kept"')
    assert not re.search(r"\^\[|pydantic|Error|Input|\n", str(raised.value))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A missing file is an error, and does not count as a file without rules."""
    with pytest.raises(SettingsError, match=r"RULES_FILE.*No such file"):
        load_rules(tmp_path / "absent.toml")
