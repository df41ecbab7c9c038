"""Unit tests of outcome ids, which must never change: consumers recognise a second publication by them."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from events.outcome import BackupSkipped, Cause, outcome_id

NAMESPACE = uuid.UUID("8b0570be-5b5c-5f0a-9d5e-0c9a6a7f2d10")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_outcome_id_is_a_name_based_uuid(event_id: str) -> None:
    """The id of an outcome is the version 5 UUID that the standard library derives from its content."""
    data = BackupSkipped(
        project_id=None, volume_id=None, snapshot_id=None, cause=Cause(id=event_id), attempts=0, reason="r"
    )
    assert str(uuid.uuid5(NAMESPACE, f"backup.skipped\n{event_id}\nskipped")) == outcome_id(data)
