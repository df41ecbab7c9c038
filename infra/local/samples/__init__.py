"""The sample messages of `infra/up`: real ones of each form, broken ones, and ones for which the API fails.

The files beside this one are read in the order of their names; each is a list of samples. Those of the first
were captured from Cinder 18.2.1 and 29.0.0 with the driver `messagingv2`; the driver `messaging` sends the
same without the envelope.
"""

import json
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from events.decode import decode
from events.errors import EventError
from events.message import Message
from events.outcome import CONTENT_TYPE
from events.snapshot import SnapshotEvent

MAX_BYTES: Final = 1 << 20
JSON_TYPE: Final = "application/json"


class Sample(BaseModel):
    """One message, and the outcome that its event must have.

    `snapshot` is declared to the emulator first (its `DeclaredSnapshot`). `fault` (its `Fault`) is active for
    this message only.
    """

    model_config = ConfigDict(extra="forbid")

    what: str
    form: str
    ends: Literal["completed", "failed", "skipped", "ignored"]
    category: str | None = None
    content_type: str = JSON_TYPE
    headers: dict[str, str] = {}
    snapshot: dict[str, Any] | None = None
    fault: dict[str, Any] | None = None
    body: dict[str, Any] | str

    @cached_property
    def message(self) -> Message:
        """The message to send; a text is the body unchanged."""
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return Message(text.encode(), self.content_type, self.headers)

    @cached_property
    def event_id(self) -> str | None:
        """The id that its outcomes have as `correlationid`; None for a message without an outcome."""
        try:
            event = decode(self.message, max_bytes=MAX_BYTES)
        except EventError as error:
            return error.ids.event_id
        return event.id if isinstance(event, SnapshotEvent) else None


_FILE: Final = TypeAdapter(list[Sample])


def samples() -> list[Sample]:
    """Read all samples, in the order in which they are sent."""
    files = sorted(
        (file for file in resources.files(__name__).iterdir() if file.name.endswith(".json")),
        key=lambda file: file.name,
    )
    return [sample for file in files for sample in _FILE.validate_json(file.read_bytes())]


def generated(count: int, seed: int) -> Iterator[Sample]:
    """Yield valid events in all forms by turns, each of its own snapshot; a seed always gives the same."""
    rng = random.Random(seed)  # noqa: S311 - made-up ids
    forms = tuple(_FORMS.items())
    for number in range(count):
        form, make = forms[number % len(forms)]
        yield make(form, f"volume-{number}", _Ids(rng))


class _Ids:
    """Random ids for one event."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.project, self.volume, self.snapshot = self.new().replace("-", ""), self.new(), self.new()

    def new(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def data(self, name: str) -> dict[str, Any]:
        return {
            "project_id": self.project,
            "volume_id": self.volume,
            "snapshot_id": self.snapshot,
            "snapshot_name": name,
            "size_gb": 10,
        }

    def attributes(self) -> dict[str, str]:
        return {"specversion": "1.0", "id": self.new(), "source": "/samples", "type": "snapshot.completed"}


def _structured(form: str, name: str, ids: _Ids) -> Sample:
    body = {**ids.attributes(), "subject": ids.snapshot, "data": ids.data(name)}
    return Sample(what=name, form=form, ends="completed", content_type=CONTENT_TYPE, body=body)


def _binary(form: str, name: str, ids: _Ids) -> Sample:
    headers = {f"cloudEvents:{key}": value for key, value in ids.attributes().items()}
    return Sample(what=name, form=form, ends="completed", headers=headers, body=ids.data(name))


def _data(form: str, name: str, ids: _Ids) -> Sample:
    return Sample(what=name, form=form, ends="completed", body=ids.data(name))


def _cinder(form: str, name: str, ids: _Ids) -> Sample:
    return Sample(what=name, form=form, ends="completed", body=_notification(name, ids))


def _cinder_wrapped(form: str, name: str, ids: _Ids) -> Sample:
    body = {"oslo.version": "2.0", "oslo.message": json.dumps(_notification(name, ids))}
    return Sample(what=name, form=form, ends="completed", body=body)


def _notification(name: str, ids: _Ids) -> dict[str, Any]:
    payload = {
        "tenant_id": ids.project,
        "volume_id": ids.volume,
        "volume_size": 10,
        "snapshot_id": ids.snapshot,
        "display_name": name,
        "status": "available",
        "deleted": "",
        "metadata": "",
    }
    return {
        "message_id": ids.new(),
        "publisher_id": "snapshot.samples@lvm",
        "event_type": "snapshot.create.end",
        "priority": "INFO",
        "payload": payload,
    }


def _trace(form: str, name: str, ids: _Ids) -> Sample:
    snapshot = {"id": ids.snapshot, "project_id": ids.project, "volume_id": ids.volume, "status": "creating"}
    trace = {
        "trace_name": "createSnapshot",
        "service_type": "EVS",
        "resource_type": "snapshot",
        "resource_name": name,
        "code": "202",
        "response": {"snapshot": snapshot},
    }
    body = {**ids.attributes(), "type": "EVS:CloudTrace:ApiCall", "data": trace}
    return Sample(what=name, form=form, ends="completed", content_type=CONTENT_TYPE, body=body)


_FORMS: Final[Mapping[str, Callable[[str, str, _Ids], Sample]]] = {
    "cloudevents": _structured,
    "binary": _binary,
    "data": _data,
    "cinder-v2": _cinder_wrapped,
    "cinder": _cinder,
    "eventgrid": _trace,
}
