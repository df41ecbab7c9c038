"""Parsing: a received message becomes a job (event, request, selection), or a result where there is none.

Pure: no I/O. What is wrong with the event is a result here, not an exception.
"""

import logging

from pydantic import ValidationError

from events.decode import decode, ids_of
from events.errors import EventError, EventIds, InvalidEvent
from events.snapshot import NAME_LIMIT, ForeignEvent, SnapshotEvent
from handler.backup import result as results
from handler.backup.ports import Snapshot
from handler.backup.received import Received
from handler.backup.request import BackupRequest, backup_request
from handler.backup.result import Job, Result
from handler.backup.selection import Selected, Selection
from handler.backup.services import Services

log = logging.getLogger(__name__)


class Parser:
    """Parses received messages by the settings."""

    def __init__(self, services: Services, selection: Selection) -> None:
        self._settings = services.settings
        self._selection = selection

    def parse(self, received: Received) -> Job | Result:
        """Return the job that a message asks for, or its result where it asks for none. Never raises."""
        if received.deliveries:
            received = received._replace(state=received.state._replace(crashes=received.crashes))
        try:
            event = decode(received.original, max_bytes=self._settings.max_body_bytes)
            if isinstance(event, ForeignEvent):
                return results.ignored(received, event)
            return self._traced_job(received, event)
        except EventError as error:
            return results.rejected(received, error)
        except Exception as error:
            log.exception("a bug: please report it", extra={"action": "message.bug"})
            return results.rejected(received, results.bug(error, EventIds()))

    def _traced_job(self, received: Received, event: SnapshotEvent) -> Job:
        try:
            return self._job(received, event)
        except EventError as error:
            error.traceparent = event.traceparent
            raise

    def _job(self, received: Received, event: SnapshotEvent) -> Job:
        """Make the request, by the API's rules and our own. Raises ``InvalidEvent``."""
        ids = self._ids(event)
        project_id = ids.project_id
        if project_id is None:
            raise InvalidEvent("no_project", "the event names no project and VBS_PROJECT_ID is not set", ids)
        selected = self._selection.select(event, project_id, shown=event.proves == "completed")
        request = _request(event, selected, ids)
        if request.project_id not in (None, project_id):
            raise InvalidEvent("other_project", "backup.project_id is not the event's project", ids)
        return Job(received.original, received.state, event, ids, project_id, request, selected)

    def selected_again(self, job: Job, shown: Snapshot) -> Job:
        """Return the job as the selection has it by what the API shows of its snapshot.

        Without an override, the backup keeps the name that the event gives it: it must not depend on a later
        change of the snapshot's name. Raises ``InvalidEvent``.
        """
        selected = self._selection.select(_as_shown(job.event, shown), job.project_id)
        return job._replace(selected=selected, request=_request(job.event, selected, job.ids))

    def _ids(self, event: SnapshotEvent) -> EventIds:
        ids = ids_of(event)
        return ids._replace(project_id=ids.project_id or self._settings.default_project)


def _request(event: SnapshotEvent, selected: Selected, ids: EventIds) -> BackupRequest:
    """Make the request, by the API's rules. Raises ``InvalidEvent``."""
    try:
        return backup_request(event.snapshot, selected.overrides, event_id=event.id)
    except ValidationError as error:
        raise InvalidEvent("bad_request", str(error.errors(include_url=False)[0]["msg"]), ids) from None


def _as_shown(event: SnapshotEvent, shown: Snapshot) -> SnapshotEvent:
    """Return the event with name, size and metadata that the API shows; what it does not show stays."""
    known = {"snapshot_name": shown.name and shown.name[:NAME_LIMIT], "size_gb": shown.size}
    found = {key: value for key, value in known.items() if value is not None}
    return event._replace(
        snapshot=event.snapshot.model_copy(update=found), metadata={**event.metadata, **shown.metadata}
    )
