"""Reads what Kubernetes reports about snapshots: changes of objects of the kind ``VolumeSnapshotContent``.

They come as the API server's watch sends them (``{"type": "MODIFIED", "object": {…}}``), or as CloudEvents of
Knative's ApiServerSource, which hold the object. An object has the ids of the cloud's volume and snapshot,
but no project, and neither name nor metadata of the snapshot. Its handle may be a backup, where cinder-csi
makes backups itself. So the API is asked for the snapshot.

https://github.com/kubernetes-csi/external-snapshotter/blob/master/client/apis/volumesnapshot/v1/types.go,
https://github.com/knative/eventing/blob/main/pkg/adapter/apiserver/events/events.go
"""

from collections.abc import Mapping
from typing import Any, Final

from events.errors import MalformedEvent
from events.reading import ParsedMessage, plain_id, snapshot_event, snapshot_fields, some_ids
from events.snapshot import ForeignEvent, SnapshotEvent

KNATIVE: Final = "dev.knative.apiserver."
"""How the types of ApiServerSource's CloudEvents begin."""
KIND: Final = "VolumeSnapshotContent"
DRIVERS: Final = frozenset({"cinder.csi.openstack.org", "disk.csi.everest.io", "evs.csi.huaweicloud.com"})
"""The CSI drivers whose handles are ids of Cinder or EVS: cinder-csi, Everest of CCE, Huawei's EVS driver."""
CLASS: Final = "volumeSnapshotClassName"
"""The key in the event's metadata for the class of the snapshot, by which a rule can match."""

_WATCH_TYPES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"})
_PRESENT = frozenset({"ADDED", "MODIFIED", f"{KNATIVE}resource.add", f"{KNATIVE}resource.update"})
_GROUP = "snapshot.storage.k8s.io/"
_GIB = 1 << 30


def is_watch(value: Mapping[str, Any]) -> bool:
    """Return whether an object is an event of a watch."""
    type_ = value.get("type")
    return "object" in value and isinstance(type_, str) and type_ in _WATCH_TYPES


def read_watch(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read an event of a watch. Raises ``EventError``."""
    type_, content = parsed.value["type"], parsed.value["object"]
    if not isinstance(content, dict):
        text = "object: must be an object of Kubernetes"
        raise MalformedEvent("bad_field", text, some_ids(None, None, type_, None))
    # A watch has no ids: all that it sends about one object is the same event.
    attributes = {"id": _part(content, "metadata").get("uid"), "source": "kubernetes", "type": type_}
    return _read(parsed, attributes, content, "kubernetes")


def read_knative(
    parsed: ParsedMessage, attributes: Mapping[str, Any], content: Mapping[str, Any]
) -> SnapshotEvent | ForeignEvent:
    """Read the object in a CloudEvent of these attributes. Raises ``EventError``."""
    return _read(parsed, attributes, content, "knative")


def _read(
    parsed: ParsedMessage, attributes: Mapping[str, Any], content: Mapping[str, Any], form: str
) -> SnapshotEvent | ForeignEvent:
    spec, status = _part(content, "spec"), _part(content, "status")
    kind = content.get("kind")
    if attributes["type"] not in _PRESENT or not _is_ready(content, spec, status):
        return ForeignEvent(form, kind[:64] if isinstance(kind, str) and kind else attributes["type"][:64])
    size = status.get("restoreSize")
    return snapshot_event(
        parsed,
        form=form,
        event_id=plain_id(attributes["id"]),
        source=attributes["source"],
        type_=attributes["type"],
        data=snapshot_fields(
            project_id=None,
            volume_id=_part(spec, "source").get("volumeHandle"),
            snapshot_id=status.get("snapshotHandle"),
            name=None,
            size_gb=-(-size // _GIB) if type(size) is int else None,
        ),
        proves="requested",
        metadata={CLASS: spec.get(CLASS)} if isinstance(spec.get(CLASS), str) else {},
        trace=attributes.get("traceparent"),
    )


def _is_ready(content: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Return whether this is a snapshot of a known driver that is complete and is not being deleted.

    One that was there before has no volume, only its own handle as the source: it is not new.
    """
    version, driver = content.get("apiVersion"), spec.get("driver")
    return (
        content.get("kind") == KIND
        and isinstance(version, str)
        and version.startswith(_GROUP)
        and isinstance(driver, str)
        and driver in DRIVERS
        and status.get("readyToUse") is True
        and "snapshotHandle" not in _part(spec, "source")
        and not _part(content, "metadata").get("deletionTimestamp")
    )


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}
