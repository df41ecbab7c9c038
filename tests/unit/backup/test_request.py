"""The request for a snapshot's backup, by the rules of the API page and our own."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from events.snapshot import BackupOptions, SnapshotCompleted
from handler.backup.request import BackupRequest, backup_request, derived_name

VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
PAGE_NAME = re.compile(r"(?!auto)[0-9A-Za-z_-]{1,64}")

NAMES = st.one_of(
    st.none(),
    st.text(max_size=1024),
    st.text("auto-_ AUTO", max_size=100),
    st.builds("auto{}".format, st.text(max_size=80)),
)


def snapshot(name: str | None = None, backup: dict[str, object] | None = None) -> SnapshotCompleted:
    """Return a snapshot with this name and these options of its backup."""
    options = BackupOptions.model_validate(backup) if backup else None
    return SnapshotCompleted(volume_id=VOLUME, snapshot_id=SNAPSHOT, snapshot_name=name, backup=options)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(name=NAMES, snapshot_id=st.uuids().map(str))
def test_whatever_a_snapshot_is_called_its_backups_name_is_valid(name: str | None, snapshot_id: str) -> None:
    """The name has at most 64 valid characters, does not start with auto, and ends with the whole id."""
    published = SnapshotCompleted(volume_id=VOLUME, snapshot_id=snapshot_id, snapshot_name=name)

    request = backup_request(published)

    assert PAGE_NAME.fullmatch(request.name)
    assert request.name.endswith(f"-{snapshot_id}")
    assert request.body() == backup_request(published).body()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, f"snapshot-{SNAPSHOT}"),
        ("", f"snapshot-{SNAPSHOT}"),
        ("快照", f"snapshot-{SNAPSHOT}"),
        ("nightly", f"nightly-{SNAPSHOT}"),
        ("Größe / db 01", f"Groe-db-01-{SNAPSHOT}"),
        ("auto-nightly", f"s-auto-nightly-{SNAPSHOT}"),
        ("AUTO", f"s-AUTO-{SNAPSHOT}"),
        ("n" * 100, f"{'n' * 27}-{SNAPSHOT}"),
        ("n" * 26 + "-x", f"{'n' * 26}-{SNAPSHOT}"),
    ],
)
def test_the_name_is_made_of_the_snapshots(name: str | None, expected: str) -> None:
    """The name is a slug of the snapshot's name, followed by the snapshot's id."""
    assert expected == derived_name(name, SNAPSHOT)


def test_only_what_is_set_is_sent() -> None:
    """Empty and unset options are left out, since Cinder refuses unknown keys and empty strings."""
    request = backup_request(
        snapshot("nightly", {"description": "", "container": "", "force": None, "incremental": False})
    )

    expected = {
        "volume_id": VOLUME,
        "snapshot_id": SNAPSHOT,
        "name": f"nightly-{SNAPSHOT}",
        "incremental": False,
    }
    assert {"backup": expected} == json.loads(request.body())


def test_what_the_event_asks_for_is_sent_as_it_is() -> None:
    """All six options of the API page are sent unchanged."""
    options: dict[str, object] = {
        "name": "mine",
        "description": "d" * 255,
        "force": True,
        "incremental": True,
        "container": "c",
        "project_id": "p",
    }

    sent = json.loads(backup_request(snapshot("nightly", options)).body())["backup"]

    assert {"volume_id": VOLUME, "snapshot_id": SNAPSHOT, **options} == sent


@pytest.mark.parametrize("name", ["", "auto", "autonomous", "n" * 65, "a b", "n\n", "ü"])
def test_a_name_against_the_pages_rules_is_refused(name: str) -> None:
    """A name has 1 to 64 digits, letters, _ and -, and does not start with auto."""
    with pytest.raises(ValidationError):
        BackupRequest(volume_id=VOLUME, snapshot_id=SNAPSHOT, name=name)


@pytest.mark.parametrize("event_id", [None, "", "x" * 256, "Schnappschuß", "snow \N{SNOWMAN}", "a\nb"])
def test_an_event_id_that_a_database_may_refuse_is_left_out_of_the_metadata(event_id: str | None) -> None:
    """Cinder keeps 255 characters, and MySQL's old character sets not all of them."""
    body = backup_request(snapshot(), event_id=event_id).body(metadata=True)

    metadata = json.loads(body)["backup"]["metadata"]
    assert {"snapshot-backup.snapshot_id": snapshot().snapshot_id} == metadata
