"""``snapshot-backup publish``: publishes snapshot events."""

import asyncio
import json
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import pika
import typer
from pydantic import ValidationError

from events.decode import decode
from events.errors import EventError
from events.message import Message
from events.outcome import CONTENT_TYPE
from events.snapshot import SnapshotCompleted
from handler import bootstrap
from handler.broker.outbox import BrokerOutbox
from handler.broker.properties import PERSISTENT
from handler.broker.topology import SNAPSHOT_COMPLETED, declare
from handler.commands.common import AsJson, fail, failing_plainly, print_json, warn
from handler.commands.console import console, working
from handler.commands.values import checked, project, readable_file, resource_id
from handler.errors import BrokerError
from handler.json_file import STDIN, JsonFile, JsonFileError
from handler.settings import Settings, load_settings

_IN_FLIGHT = 256
_SHOW_EVERY = 1000
_NOT_IN_LOCALE = "has characters that this locale does not have; set LC_ALL=C.UTF-8 and unset PYTHONUTF8"


@dataclass(slots=True)
class Published:
    """How many events the broker has confirmed."""

    count: int = 0

    def __str__(self) -> str:
        return f"{self.count:,} event{'' if self.count == 1 else 's'}"


def publish(
    volume_id: Annotated[
        str | None, typer.Option(metavar="UUID", callback=checked(resource_id), help="The volume's UUID.")
    ] = None,
    snapshot_id: Annotated[
        str | None, typer.Option(metavar="UUID", callback=checked(resource_id), help="The snapshot's UUID.")
    ] = None,
    project_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            callback=checked(project),
            help="The project's ID (default: VBS_PROJECT_ID of the worker).",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="The snapshot's name.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=checked(readable_file),
            help="File of events: JSON lines, an array, or indented documents. All are checked, then "
            "published unchanged; - is standard input.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish snapshot events to SNAPSHOT_EXCHANGE; the broker confirms each.

    Give one event by --volume-id and --snapshot-id, or many by --file.
    """
    published = Published()
    with failing_plainly(), ExitStack() as stack:
        settings = load_settings()
        events = _events(settings, volume_id, snapshot_id, project_id, name, file, stack)
        show = stack.enter_context(working("publishing…"))
        try:
            asyncio.run(_send(settings, events, published, show))
        except (BrokerError, KeyboardInterrupt):
            if published.count:
                warn(f"{published} were published before")
            raise
    if as_json:
        print_json({"sent": published.count})
    else:
        console().print(f"published {published} to {settings.snapshot_exchange}", markup=False)


def _events(
    settings: Settings,
    volume_id: str | None,
    snapshot_id: str | None,
    project_id: str | None,
    name: str | None,
    file: Path | None,
    stack: ExitStack,
) -> Iterable[Message]:
    if file is not None and {volume_id, snapshot_id, project_id, name} == {None}:
        return _checked(stack.enter_context(_open(file, settings)), settings.max_body_bytes)
    if file is None and volume_id and snapshot_id:
        return [Message(_event(volume_id, snapshot_id, project_id, name), CONTENT_TYPE)]
    raise fail("give either --volume-id and --snapshot-id, or --file and nothing else", code=2)


def _open(file: Path, settings: Settings) -> JsonFile:
    if file == STDIN and sys.stdin.isatty():
        warn("reading events from the terminal; Ctrl-D ends them")
    try:
        return JsonFile(file, limit=settings.max_body_bytes)
    except JsonFileError as error:
        raise fail(f"--file {error}", code=2) from None


def _checked(source: JsonFile, max_bytes: int) -> Iterable[Message]:
    """Return the events of a file, all of which were checked, even if the file grows meanwhile.

    Raises ``JsonFileError`` for the first one that a worker would refuse.
    """
    count = sum(1 for _ in _read(source, max_bytes))
    return islice(_read(source, max_bytes), count)


def _read(source: JsonFile, max_bytes: int) -> Iterator[Message]:
    """Yield each event with the bytes that it has in the file, and the content type of its form."""
    for text, line in source:
        message = Message(text.encode())
        try:
            event = decode(message, max_bytes=max_bytes)
        except EventError as error:
            raise source.error(line, f"{error}; nothing was published") from None
        is_cloudevent = event.form in {"cloudevents", "eventgrid"}
        yield message._replace(content_type=CONTENT_TYPE if is_cloudevent else "application/json")


def _event(volume_id: str, snapshot_id: str, project_id: str | None, name: str | None) -> bytes:
    try:
        data = SnapshotCompleted(
            project_id=project_id, volume_id=volume_id, snapshot_id=snapshot_id, snapshot_name=name
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        reason = _NOT_IN_LOCALE if problem["type"] == "string_unicode" else problem["msg"]
        raise typer.BadParameter(reason, param_hint="'--name'") from None
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "snapshot-backup/publish",
        "type": SNAPSHOT_COMPLETED,
        "subject": data.snapshot_id,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": data.model_dump(exclude_none=True),
    }
    return json.dumps(event).encode()


async def _send(
    settings: Settings, events: Iterable[Message], published: Published, show: Callable[[str], None]
) -> None:
    """Publish the events and count those that the broker has confirmed. Raises ``BrokerError``."""
    topology = bootstrap.topology(settings)
    async with await bootstrap.open_connection(settings) as connection:
        await declare(connection, topology)
        outbox = BrokerOutbox(connection, topology, ignore_unroutable=False)
        pending: set[asyncio.Task[None]] = set()

        async def send(event: Message) -> None:
            properties = pika.BasicProperties(content_type=event.content_type, delivery_mode=PERSISTENT)
            await outbox.send(topology.snapshot_exchange, SNAPSHOT_COMPLETED, event.body, properties)
            published.count += 1
            if published.count % _SHOW_EVERY == 0:
                show(f"published {published}")

        for event in events:
            pending.add(asyncio.create_task(send(event)))
            if len(pending) >= _IN_FLIGHT:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
        await asyncio.gather(*pending)
