"""``snapshot-backup watch``: prints outcome events as they are published."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text

from events.outcome import (
    PROBE,
    BackupAccepted,
    BackupCompleted,
    BackupFailed,
    BackupSkipped,
    OutcomeData,
    OutcomeEvent,
)
from handler import bootstrap
from handler.broker.connection import BrokerConnection, Channel
from handler.broker.consumer import Consumer, Delivery
from handler.commands.common import AsJson, failing_plainly, print_json
from handler.commands.console import console, progress_console
from handler.errors import BrokerError
from handler.printable import printable
from handler.redaction import redacted
from handler.settings import Settings, load_settings
from handler.telemetry import logs

_PREFETCH = 100
_RETRY_SECONDS = 1.0
_COLOURS = {
    "backup.accepted": "cyan",
    "backup.completed": "green",
    "backup.failed": "bold red",
    "backup.skipped": "yellow",
}


def watch(
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after this many outcomes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show outcome events as they are published, until Ctrl-C.

    The command receives copies, in a queue of its own that is deleted when it
    ends. With --json, each outcome is one line as it was published.

    Note: while it runs, every outcome is routable. A worker that waits for a
    queue to be bound to RESULT_EXCHANGE publishes its outcomes, even if this
    command is the only receiver.
    """
    logs.set_up("ERROR", None)
    show = _show_json if as_json else _show_line
    with failing_plainly(), contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch(load_settings(), show, count))


async def _watch(settings: Settings, show: Callable[[bytes], None], count: int | None) -> None:
    shown = 0
    async with contextlib.aclosing(_outcomes(settings)) as outcomes:
        async for body in outcomes:
            show(body)
            shown += 1
            if shown == count:
                return


async def _outcomes(settings: Settings) -> AsyncGenerator[bytes]:
    """Yield outcomes without end. A first failure to subscribe is raised; a later failure is retried."""
    subscribed = False
    while True:
        try:
            async with await bootstrap.open_connection(settings) as connection:
                channel, deliveries = await _subscribe(connection, settings.result_exchange)
                subscribed = True
                while True:
                    delivery = await _next(channel, deliveries)
                    if delivery.message.properties.get("type") != PROBE:
                        yield delivery.message.body
                    delivery.ack()
        except BrokerError as error:
            if not subscribed:
                raise
            progress_console().print(
                f"connection lost, retrying in {_RETRY_SECONDS:g} s: {redacted(str(error))}", markup=False
            )
        await asyncio.sleep(_RETRY_SECONDS)


async def _subscribe(connection: BrokerConnection, exchange: str) -> tuple[Channel, asyncio.Queue[Delivery]]:
    channel = await connection.channel()
    raw = channel.raw
    answer = await channel.call(raw.queue_declare, queue="", exclusive=True, auto_delete=True)
    queue = answer.method.queue
    await channel.call(raw.queue_bind, queue=queue, exchange=exchange, routing_key="#")
    deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
    await Consumer(channel, queue, deliveries.put_nowait, channel.raw.close).set_prefetch(_PREFETCH)
    return channel, deliveries


async def _next(channel: Channel, deliveries: asyncio.Queue[Delivery]) -> Delivery:
    """Wait for the next delivery. Raises ``ChannelClosed``."""
    next_delivery = asyncio.ensure_future(deliveries.get())
    ends: set[asyncio.Future[Any]] = {next_delivery, channel.closed}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if next_delivery.done():
            return next_delivery.result()
        raise channel.closed.result()
    finally:
        next_delivery.cancel()


def _show_json(body: bytes) -> None:
    # Parsed and printed again, since the JSON of another publisher may contain line breaks.
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = {"unreadable": body.decode("utf-8", "replace")}
    print_json(document)


def _show_line(body: bytes) -> None:
    try:
        event = OutcomeEvent.model_validate_json(body)
    except ValidationError:
        console().print("[dim]a message that is not an outcome[/]")
        return
    line = Text(event.time.astimezone().strftime("%H:%M:%S "), style="dim")
    line.append(f"{event.type:17} ", style=_COLOURS.get(event.type, ""))
    line.append(f"{printable(event.data.snapshot_id or '-'):36} ")
    line.append(printable(_end(event.data)))
    console().print(line, soft_wrap=True)


def _end(data: OutcomeData) -> str:
    match data:
        case BackupAccepted():
            return f"{data.backup.id}{' (found)' if data.found else ''}"
        case BackupCompleted():
            return f"{data.backup.id} in {data.seconds:.0f} s"
        case BackupFailed():
            return " ".join(str(part) for part in (data.error.category, data.error.message) if part)
        case BackupSkipped():
            return data.reason
