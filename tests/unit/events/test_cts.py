"""Unit tests of CTS traces: which traces are the creation of a snapshot."""

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
        {"trace_name": "createVolume", "resource_type": "evs"},
        {"trace_name": "createVolumeFromSnapshot", "resource_type": "evs"},
        {"trace_name": "createVolumeBySnapshot", "resource_type": "evs"},
        {"trace_name": "createSnapshotTag", "resource_type": "evs"},
        {"trace_name": "createSnapshotPolicy", "resource_type": "evs"},
        {"trace_name": "createSnapshotGroup", "resource_type": "evs"},
        {"trace_name": "rollbackSnapshot", "resource_type": "evs"},
        {"trace_name": "recreateSnapshotxyz" * 5_000},
        {"trace_name": "create" * 20_000 + "snapshot"},
        {"resource_type": "volume"},
        {"resource_type": ["snapshot"]},
        {"resource_type": {"evs": {}}},
        {"response": {"status": "FAIL", "entities": {"snapshot_id": SNAPSHOT}}},
        {"service_type": "CSS"},
        {"service_type": None},
        {"code": 403},
        {"code": "500"},
    ],
)
def test_all_but_a_created_evs_snapshot_is_foreign(changes: dict[str, Any]) -> None:
    """A trace of another service, resource or call, or of a refused call, is foreign."""
    event = trace(**changes)

    assert ForeignEvent("trace", event["trace_name"][:64]) == read(event)


@pytest.mark.parametrize(
    "name",
    [
        *("createSnapshot", "CreateSnapshot", "createEvsSnapshot", "batchless", "createSnapshotV2"),
        *("createSnapshots", "batchCreateSnapshots", "createCloudSnapshot", "createStandardSnapshotV5"),
    ],
)
@pytest.mark.parametrize("resource", ["snapshot", "evs", "EVS"])
def test_the_name_of_a_trace_is_matched_loosely(name: str, resource: str) -> None:
    """Any name of the kind create…Snapshot is accepted, since no trace of an EVS snapshot is documented."""
    found = read(trace(trace_name=name, resource_type=resource))

    assert isinstance(found, ForeignEvent) == (name == "batchless")


@pytest.mark.parametrize("code", [202, "202", None, 200])
def test_the_code_may_be_a_text_a_number_or_missing(code: object) -> None:
    """A trace's code is accepted as a text (documented), as a number (in a sample) or missing."""
    assert "requested" == read_snapshot(trace(code=code)).proves


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ({"snapshot": {"volume_id": VOLUME}}, {"snapshot": {"id": SNAPSHOT}}),
        ({"snapshot": {"volume_id": VOLUME}}, "not json"),
        ("", {"snapshot": {"id": SNAPSHOT, "volume_id": VOLUME}}),
        (f'{{"snapshot": {{"volume_id": "{VOLUME}"}}}}', None),
        (
            "",
            {"job_id": "j", "status": "SUCCESS", "entities": {"snapshot_id": SNAPSHOT, "volume_id": VOLUME}},
        ),
        ({"snapshot": {"volume_id": VOLUME}}, {"snapshot": [], "entities": {"snapshot_id": SNAPSHOT}}),
    ],
)
def test_ids_are_found_wherever_they_are(request_: object, response: object) -> None:
    """The ids are read from request or response, which may be objects, JSON texts or missing."""
    snapshot = read_snapshot(trace(request=request_, response=response)).snapshot

    assert (VOLUME, SNAPSHOT) == (snapshot.volume_id, snapshot.snapshot_id)


def test_a_trace_without_a_volume_is_invalid() -> None:
    """A trace without a volume id is recognised and refused as invalid."""
    error = refusal_of(trace(request=None))

    assert ("invalid", "missing_field", SNAPSHOT) == (error.category, error.code, error.ids.snapshot_id)


@pytest.mark.parametrize("odd", ["../../x", 7, ["a"], {"id": SNAPSHOT}, "x" * 100_000, VOLUME + "\n"])
@pytest.mark.parametrize("resource", ["snapshot", "evs"])
def test_a_trace_with_an_id_that_is_none_is_invalid(odd: object, resource: str) -> None:
    """An id that is a path, or of a wrong type, is refused wherever it is."""
    snapshot = {"snapshot": {"volume_id": VOLUME, "id": odd}}

    assert "bad_field" == refusal_of(trace(response=snapshot, resource_type=resource)).code
    assert "bad_field" == refusal_of(trace(response=None, resource_id=odd, resource_type=resource)).code


def test_the_volume_of_a_trace_is_not_taken_for_its_snapshot() -> None:
    """The resource of a trace may be the volume; then nothing names the snapshot."""
    error = refusal_of(trace(resource_type="evs", resource_id=VOLUME, response=None))

    assert ("invalid", "missing_field") == (error.category, error.code)


def test_the_project_of_a_trace_is_read_if_present() -> None:
    """The project id is that of the trace, never the user's domain; the documented trace has none."""
    assert PROJECT == read_snapshot(trace(project_id=PROJECT)).snapshot.project_id


def test_the_metadata_of_the_request_is_read() -> None:
    """The event has the request's metadata, by which a snapshot of the backup service is recognised."""
    request = {"snapshot": {"volume_id": VOLUME, "metadata": {"__system__enableActive": "1"}}}

    assert {"__system__enableActive": "1"} == read_snapshot(trace(request=request)).metadata


def test_a_trace_in_a_cloudevent_has_the_cloudevents_attributes() -> None:
    """The event has the CloudEvent's id, source, type and traceparent."""
    sample = load("eventgrid-trace")

    event = read_snapshot({**sample, "traceparent": TRACEPARENT})

    expected = (sample["id"], "HC.EVS", "EVS:CloudTrace:ApiCall", TRACEPARENT)
    assert expected == (event.id, event.source, event.type, event.traceparent)


@pytest.mark.parametrize(
    "value", [{"cts": "text"}, {"cts": {}}, {"trace_name": 7}, {"cts": {"trace_name": []}}]
)
def test_a_trace_without_its_fields_is_malformed(value: dict[str, Any]) -> None:
    """An object with the key of a trace, but without its fields, is refused."""
    assert "bad_field" == refusal_of(value).code
