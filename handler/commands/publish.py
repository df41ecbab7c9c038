"""``snapshot-backup publish``: publishes snapshot events."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Annotated

import pika
import typer
from pydantic import ValidationError

from events.outcome import CONTENT_TYPE
from events.snapshot import SnapshotCompleted
from handler import bootstrap
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import SNAPSHOT_COMPLETED, declare
from handler.commands.common import (
    AsJson,
    console,
    fail,
    failing_plainly,
    print_json,
    until_readable,
    warn,
    working,
)
from handler.commands.values import checked, project, readable_file, resource_id
from handler.errors import BrokerError
from handler.settings import Settings, load_settings

_IN_FLIGHT = 256
_PERSISTENT = 2
_SHOW_EVERY = 1000
_CHUNK = 65_536


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
            help="File of events, one JSON document per line, published unchanged; - is standard input.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish snapshot events to SNAPSHOT_EXCHANGE; the broker confirms each.

    Give one event by --volume-id and --snapshot-id, or many by --file.
    """
    published = Published()
    with failing_plainly(), ExitStack() as stack:
        bodies = _bodies(volume_id, snapshot_id, project_id, name, file, stack)
        settings = load_settings()
        show = stack.enter_context(working("publishing…"))
        try:
            asyncio.run(_send(settings, bodies, published, show))
        except (BrokerError, KeyboardInterrupt):
            if published.count:
                warn(f"{published} were published before")
            raise
    if as_json:
        print_json({"sent": published.count})
    else:
        console().print(f"published {published} to {settings.snapshot_exchange}", markup=False)


def _bodies(
    volume_id: str | None,
    snapshot_id: str | None,
    project_id: str | None,
    name: str | None,
    file: Path | None,
    stack: ExitStack,
) -> AsyncIterator[bytes]:
    """Return the events to publish; exits with 2 unless there is one way to get them."""
    if file is not None and {volume_id, snapshot_id, project_id, name} == {None}:
        return _lines(stack.enter_context(_open(file)))
    if file is None and volume_id and snapshot_id:
        return _one(_event(volume_id, snapshot_id, project_id, name))
    raise fail("give either --volume-id and --snapshot-id, or --file and nothing else", code=2)


def _open(file: Path) -> BufferedReader:
    if file != Path("-"):
        return file.open("rb")
    if sys.stdin.isatty():
        warn("reading events from the terminal, one JSON document per line; Ctrl-D ends them")
    return sys.stdin.buffer  # type: ignore[return-value] # it reads a file


async def _lines(source: BufferedReader) -> AsyncIterator[bytes]:
    """Yield the lines that are not empty. While a pipe or a terminal has none, other work goes on."""
    rest = b""
    while True:
        await until_readable(source)
        part = source.read1(_CHUNK)
        *lines, rest = (rest + (part or b"\n")).split(b"\n")
        for line in lines:
            if text := line.strip():
                yield text
        if not part:
            return


async def _one(event: bytes) -> AsyncIterator[bytes]:
    yield event


def _event(volume_id: str, snapshot_id: str, project_id: str | None, name: str | None) -> bytes:
    try:
        data = SnapshotCompleted(
            project_id=project_id, volume_id=volume_id, snapshot_id=snapshot_id, snapshot_name=name
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise typer.BadParameter(problem["msg"], param_hint="'--name'") from None
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
    settings: Settings, bodies: AsyncIterator[bytes], published: Published, show: Callable[[str], None]
) -> None:
    """Publish the events and count those that the broker has confirmed. Raises ``BrokerError``."""
    properties = pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=_PERSISTENT)
    topology = bootstrap.topology(settings)
    async with await bootstrap.open_connection(settings) as connection:
        await declare(connection, topology)
        outbox = BrokerOutbox(connection, topology, ignore_unroutable=False)
        pending: set[asyncio.Task[None]] = set()

        async def send(body: bytes) -> None:
            await outbox.send(topology.snapshot_exchange, SNAPSHOT_COMPLETED, body, properties)
            published.count += 1
            if published.count % _SHOW_EVERY == 0:
                show(f"published {published}")

        async for body in bodies:
            pending.add(asyncio.create_task(send(body)))
            if len(pending) >= _IN_FLIGHT:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
        await asyncio.gather(*pending)
