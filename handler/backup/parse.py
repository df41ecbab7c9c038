"""What is in a message, before anything is done about it: decoded, chosen, and made into a request.

Pure: no I/O. Whatever is wrong with the event is an answer here, not an exception.
"""

import logging
from typing import NamedTuple

from pydantic import ValidationError

from events.decode import Event, decode, ids_of, open_message
from events.errors import EventError, EventIds, InvalidEvent
from events.message import Message, State
from events.snapshot import ForeignEvent, SnapshotEvent
from handler.backup.request import backup_request
from handler.backup.result import Job
from handler.backup.selection import Selection
from handler.backup.services import Services

log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """An opened message: ``original`` and ``state`` are known of every one, ``event`` is what it holds."""

    original: Message
    state: State
    event: Event | EventError
    ids: EventIds

    @property
    def event_id(self) -> str:
        """The event's id, or the one derived from its bytes."""
        return self.ids.event_id or self.original.derived_id

    @property
    def form(self) -> str | None:
        """The form that the event came in, where that could be read."""
        return None if isinstance(self.event, EventError) else self.event.form

    @property
    def traceparent(self) -> str | None:
        """The trace context of who handled it last, else of its producer."""
        produced = self.event.traceparent if isinstance(self.event, SnapshotEvent) else None
        return self.state.traceparent or produced


class Opening:
    """Opens messages by the settings."""

    def __init__(self, services: Services, selection: Selection) -> None:
        self.services = services
        self.selection = selection

    def open(self, message: Message) -> Opened:
        """Read a message. Never raises."""
        original, state = open_message(message, now=self.services.clock())
        try:
            event: Event | EventError = decode(original, max_bytes=self.services.settings.max_body_bytes)
        except EventError as error:
            event = error
        except Exception as error:
            log.exception("a bug: please report it", extra={"action": "message.bug"})
            event = InvalidEvent("bug", f"{type(error).__name__} within snapshot-backup")
        return Opened(original, state, event, self._ids(event))

    def job(self, opened: Opened, event: SnapshotEvent | EventError, state: State) -> Job | EventError:
        """Make the request, by the API's rules and our own; what was wrong before is still wrong."""
        if isinstance(event, EventError):
            return event
        ids = opened.ids
        project_id = ids.project_id
        if project_id is None:
            return InvalidEvent("no_project", "the event names no project and VBS_PROJECT_ID is not set", ids)
        choice = self.selection.select(event, project_id)
        try:
            request = backup_request(event.snapshot, choice.overrides)
        except ValidationError as error:
            return InvalidEvent("bad_request", str(error.errors(include_url=False)[0]["msg"]), ids)
        if request.project_id not in (None, project_id):
            return InvalidEvent("other_project", "backup.project_id is not the event's project", ids)
        return Job(opened.original, state, event, ids, project_id, request, choice)

    def _ids(self, event: Event | EventError) -> EventIds:
        match event:
            case EventError():
                return event.ids
            case ForeignEvent():
                return EventIds(type=event.type)
        ids = ids_of(event)
        return ids._replace(project_id=ids.project_id or self.services.settings.default_project)
