"""Reads CTS traces (Cloud Trace Service): audit records of API calls.

A trace proves at best that a snapshot was requested, so the API is always asked for the snapshot. No trace of
an EVS snapshot is documented. All documented traces of EVS have the resource type ``evs``, and their response
is an object of the API, or the end of a job with the ids as its ``entities``.
"""

import re
from collections.abc import Mapping
from typing import Any

from events.errors import MalformedEvent
from events.reading import ParsedMessage, parse_object, plain_id, snapshot_event, snapshot_fields, some_ids
from events.snapshot import ForeignEvent, SnapshotEvent

# Such as createSnapshot, batchCreateCloudSnapshots or CreateSnapshotV5; createVolumeFromSnapshot and
# createSnapshotTag, which the resource type ``evs`` also covers, are none.
_CREATES_SNAPSHOT = re.compile(
    r"(?i)(?!\w*(?:from|by|with|using))\w{0,32}create\w{0,32}snapshots?(?:_?v?\d{1,2})?"
)
_RESOURCES = frozenset({"snapshot", "snapshots", "evs"})


def read_envelope(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read FunctionGraph's CTS trigger: one trace under the key ``cts``. Raises ``EventError``."""
    trace = parsed.value["cts"]
    if not isinstance(trace, dict):
        raise MalformedEvent("bad_field", "cts: must be an object")
    return read_trace(ParsedMessage(parsed.message, trace, parsed.carrier_id), form="cts")


def read_trace(
    parsed: ParsedMessage, *, form: str = "trace", carrier: Mapping[str, Any] | None = None
) -> SnapshotEvent | ForeignEvent:
    """Read a trace; everything except the successful creation of an EVS snapshot is foreign.

    ``carrier`` has the attributes of the CloudEvent that contained the trace, if any. Raises ``EventError``.
    """
    trace = parsed.value
    name = trace.get("trace_name")
    attributes = carrier or {"id": trace.get("trace_id"), "source": trace.get("service_type"), "type": name}
    if not isinstance(name, str):
        ids = some_ids(attributes["id"], attributes["source"], attributes["type"], None)
        raise MalformedEvent("bad_field", "trace_name: must be a text", ids)
    if not _is_ours(trace, name):
        return ForeignEvent(form, name[:64])
    return snapshot_event(
        parsed,
        form=form,
        event_id=plain_id(attributes["id"]),
        source=attributes["source"],
        type_=attributes["type"],
        data=_data(trace),
        proves="requested",
        metadata=_snapshot(trace.get("request")).get("metadata"),
        trace=attributes.get("traceparent"),
    )


def _is_ours(trace: Mapping[str, Any], name: str) -> bool:
    """Return whether this is the creation of an EVS snapshot that EVS did not refuse."""
    service, resource = trace.get("service_type"), trace.get("resource_type")
    return (
        _CREATES_SNAPSHOT.fullmatch(name) is not None
        and isinstance(service, str)
        and service.upper() == "EVS"
        and isinstance(resource, str)
        and resource.lower() in _RESOURCES
        and str(trace.get("code") or 200).startswith("2")
        and _part(trace.get("response")).get("status") != "FAIL"
    )


def _data(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Take the ids from the request, the response and the trace itself."""
    request, response = _snapshot(trace.get("request")), _snapshot(trace.get("response"))
    volume_id = request.get("volume_id") or response.get("volume_id")
    snapshot_id = response.get("id") or response.get("snapshot_id")
    resource_id = trace.get("resource_id")
    return snapshot_fields(
        project_id=trace.get("project_id") or response.get("project_id"),
        volume_id=volume_id,
        # The resource of a trace of type ``evs`` may be the volume.
        snapshot_id=snapshot_id or (None if resource_id == volume_id else resource_id),
        name=trace.get("resource_name") or request.get("name"),
        size_gb=response.get("size"),
    )


def _snapshot(part: object) -> Mapping[str, Any]:
    """Return the ``snapshot`` of a trace's request or response, or the ``entities`` of its job."""
    whole = _part(part)
    found = whole.get("snapshot") or whole.get("entities")
    return found if isinstance(found, dict) else {}


def _part(part: object) -> Mapping[str, Any]:
    """Return a trace's request or response, which may be an object or JSON text."""
    try:
        whole = parse_object(part) if isinstance(part, str) else part
    except MalformedEvent:
        return {}
    return whole if isinstance(whole, dict) else {}
