"""``snapshot-backup publish``: publishes snapshot events."""

import asyncio
import json
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import pika
import typer
from pydantic import ValidationError

from events.outcome import CONTENT_TYPE
from events.snapshot import SnapshotCompleted
from handler import bootstrap
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import SNAPSHOT_COMPLETED, declare
from handler.commands.common import AsJson, console, fail, failing_plainly
from handler.settings import Settings, load_settings

_IN_FLIGHT = 256
_PERSISTENT = 2


def publish(
    volume_id: Annotated[str | None, typer.Option(help="The volume's UUID.")] = None,
    snapshot_id: Annotated[str | None, typer.Option(help="The snapshot's UUID.")] = None,
    project_id: Annotated[
        str | None, typer.Option(help="The project's ID (default: VBS_PROJECT_ID of the worker).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The snapshot's name.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="File of events, one JSON document per line, published unchanged; - is standard input."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish snapshot events to SNAPSHOT_EXCHANGE; the broker confirms each.

    Give one event by --volume-id and --snapshot-id, or many by --file.
    """
    with failing_plainly(), ExitStack() as stack:
        settings = load_settings()
        bodies = _bodies(volume_id, snapshot_id, project_id, name, file, stack)
        sent = asyncio.run(_send(settings, bodies))
    if as_json:
        print(json.dumps({"sent": sent}))
    else:
        console().print(f"published {sent} event{'' if sent == 1 else 's'} to {settings.snapshot_exchange}")


def _bodies(
    volume_id: str | None,
    snapshot_id: str | None,
    project_id: str | None,
    name: str | None,
    file: str | None,
    stack: ExitStack,
) -> Iterable[bytes]:
    if file is not None and volume_id is None and snapshot_id is None:
        return _lines(stack.enter_context(_open(file)))
    if file is None and volume_id and snapshot_id:
        return [_event(volume_id, snapshot_id, project_id, name)]
    raise fail("give either --volume-id and --snapshot-id, or --file", code=2)


def _open(file: str) -> TextIO:
    if file == "-":
        return sys.stdin
    try:
        return Path(file).open(encoding="utf-8")
    except OSError as error:
        raise fail(f"--file {file}: {error.strerror}", code=2) from None


def _lines(source: TextIO) -> Iterator[bytes]:
    for line in source:
        if text := line.strip():
            yield text.encode()


def _event(volume_id: str, snapshot_id: str, project_id: str | None, name: str | None) -> bytes:
    try:
        data = SnapshotCompleted(
            project_id=project_id, volume_id=volume_id, snapshot_id=snapshot_id, snapshot_name=name
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        option = str(problem["loc"][0]).replace("_", "-").replace("snapshot-name", "name")
        raise fail(f"--{option}: {problem['msg']}", code=2) from None
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


async def _send(settings: Settings, bodies: Iterable[bytes]) -> int:
    properties = pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=_PERSISTENT)
    topology = bootstrap.topology(settings)
    sent = 0
    async with await bootstrap.open_connection(settings) as connection:
        await declare(connection, topology)
        outbox = BrokerOutbox(connection, topology, ignore_unroutable=False)
        pending: set[asyncio.Task[None]] = set()
        for body in bodies:
            task = outbox.send(topology.snapshot_exchange, SNAPSHOT_COMPLETED, body, properties)
            pending.add(asyncio.create_task(task))
            sent += 1
            if len(pending) >= _IN_FLIGHT:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
        await asyncio.gather(*pending)
    return sent
