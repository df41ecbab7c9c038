"""CTS traces: which of them are the creation of a snapshot."""

from typing import Any

import pytest

from events.snapshot import ForeignEvent
from tests.unit.events.forms import (
    PROJECT,
    SNAPSHOT,
    TRACEPARENT,
    VOLUME,
    load,
    read,
    read_snapshot,
    refusal_of,
)


def trace(**changes: object) -> dict[str, Any]:
    """Return the sample trace with other values."""
    return {**load("cts-trace"), **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_name": "deleteSnapshot"},
        {"trace_name": "createVolume"},
        {"resource_type": "evs"},
        {"resource_type": ["snapshot"]},
        {"service_type": "CSS"},
        {"service_type": None},
        {"code": 403},
        {"code": "500"},
    ],
)
def test_all_but_a_created_evs_snapshot_is_foreign(changes: dict[str, Any]) -> None:
    """Cloud Search has a createSnapshot as well; a refused call has made nothing."""
    event = trace(**changes)

    assert ForeignEvent("trace", event["trace_name"]) == read(event)


@pytest.mark.parametrize(
    "name", ["createSnapshot", "CreateSnapshot", "createEvsSnapshot", "batchless", "createSnapshotV2"]
)
def test_names_are_matched_loosely(name: str) -> None:
    """No trace of an EVS snapshot is documented, so its exact name is not known."""
    found = read(trace(trace_name=name))

    assert isinstance(found, ForeignEvent) == (name == "batchless")


@pytest.mark.parametrize("code", [202, "202", None, 200])
def test_the_code_may_be_a_text_a_number_or_missing(code: object) -> None:
    """One table says text, one sample has a number."""
    assert "requested" == read_snapshot(trace(code=code)).proves


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ({"snapshot": {"volume_id": VOLUME}}, {"snapshot": {"id": SNAPSHOT}}),
        ({"snapshot": {"volume_id": VOLUME}}, "not json"),
        ("", {"snapshot": {"id": SNAPSHOT, "volume_id": VOLUME}}),
        (f'{{"snapshot": {{"volume_id": "{VOLUME}"}}}}', None),
    ],
)
def test_ids_are_found_wherever_they_are(request_: object, response: object) -> None:
    """Request and response are objects or JSON texts, and either may be missing."""
    snapshot = read_snapshot(trace(request=request_, response=response)).snapshot

    assert (VOLUME, SNAPSHOT) == (snapshot.volume_id, snapshot.snapshot_id)


def test_a_trace_without_a_volume_is_invalid() -> None:
    """It is known, and cannot be backed up."""
    error = refusal_of(trace(request=None))

    assert ("invalid", "missing_field", SNAPSHOT) == (error.category, error.code, error.ids.snapshot_id)


def test_a_project_is_taken_where_there_is_one() -> None:
    """The documented trace has none; the user's domain is not the project."""
    assert PROJECT == read_snapshot(trace(project_id=PROJECT)).snapshot.project_id


def test_metadata_of_the_request_is_told() -> None:
    """So that a snapshot which the backup service made for itself is seen."""
    request = {"snapshot": {"volume_id": VOLUME, "metadata": {"__system__enableActive": "1"}}}

    assert {"__system__enableActive": "1"} == read_snapshot(trace(request=request)).metadata


def test_a_trace_in_a_cloudevent_has_the_cloudevents_attributes() -> None:
    """Its id, source, type and traceparent are the event's."""
    sample = load("eventgrid-trace")

    event = read_snapshot({**sample, "traceparent": TRACEPARENT})

    expected = (sample["id"], "HC.EVS", "EVS:CloudTrace:ApiCall", TRACEPARENT)
    assert expected == (event.id, event.source, event.type, event.traceparent)


@pytest.mark.parametrize(
    "value", [{"cts": "text"}, {"cts": {}}, {"trace_name": 7}, {"cts": {"trace_name": []}}]
)
def test_what_is_no_trace_is_malformed(value: dict[str, Any]) -> None:
    """The marks of the form with nothing behind them."""
    assert "bad_field" == refusal_of(value).code
