"""The backup service's own snapshots: for each backup one is made, and may be announced on a broker.

Cinder makes one for a backup of a volume in use, and VBS one for every backup. They are reported like any
other snapshot, so a program that makes a backup of each reported snapshot would never end.
"""

import json
from collections.abc import Sequence

import pika

from infra.emulator.store import Backup, Snapshot, new_id

PREFIXES = (
    "autobk_snapshot_vbs_",
    "manualbk_snapshot_vbs_",
    "autobk_snapshot_csbs_",
    "manualbk_snapshot_csbs_",
    "backup-snap-",
)
"""How the names of own snapshots begin; after them one without a name comes, with VBS's metadata."""


def own_snapshot(backup: Backup, number: int) -> Snapshot:
    """Return the snapshot that a backup makes, the `number`-th of all."""
    turn = number % (len(PREFIXES) + 1)
    named = turn < len(PREFIXES)
    return Snapshot(
        new_id(),
        backup.project_id,
        created_at=backup.created_at,
        volume_id=backup.volume_id,
        name=f"{PREFIXES[turn]}{backup.volume_id}" if named else None,
        size=backup.size,
        metadata={} if named else {"__system__enableActive": "true"},
    )


def announcements(snapshot: Snapshot) -> Sequence[bytes]:
    """Return the bodies that report a snapshot: Cinder's notification, and a trace that does not name it."""
    payload = {
        "tenant_id": snapshot.project_id,
        "volume_id": snapshot.volume_id,
        "volume_size": snapshot.size,
        "snapshot_id": snapshot.id,
        "display_name": snapshot.name,
        "status": "available",
        "deleted": "",
        "metadata": str(dict(snapshot.metadata)) if snapshot.metadata else "",
    }
    notification = {"message_id": new_id(), "event_type": "snapshot.create.end", "payload": payload}
    trace = {
        "trace_id": new_id(),
        "trace_name": "createSnapshot",
        "service_type": "EVS",
        "resource_type": "evs",
        "project_id": snapshot.project_id,
        "code": "202",
        "response": {"snapshot": {"id": snapshot.id, "volume_id": snapshot.volume_id, "status": "creating"}},
    }
    return [json.dumps(body).encode() for body in (notification, trace)]


class Announcer:
    """Publishes the announcements of own snapshots; `target` is an exchange and a routing key."""

    def __init__(self, url: str, target: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._exchange, _, self._key = target.partition(":")

    def announce(self, snapshot: Snapshot) -> None:
        """Publish what reports a snapshot. Blocks until the broker has confirmed it."""
        with pika.BlockingConnection(self._parameters) as connection, connection.channel() as channel:
            channel.confirm_delivery()
            for body in announcements(snapshot):
                properties = pika.BasicProperties("application/json", delivery_mode=2)
                channel.basic_publish(self._exchange, self._key, body, properties, mandatory=True)
