"""Helpers for the tests of message handling: events, and functions that run them through a ``World``."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from events.decode import parse_message
from events.message import Message, wrap
from events.outcome import BackupFailed, Category
from handler.errors import ApiError
from tests.twins.events import PROJECT, made_up_id
from tests.twins.world import MESSAGE_SETTINGS, World

MADE = ["backup.accepted", "backup.completed"]
UNAVAILABLE = ApiError(Category.UNAVAILABLE, "down", status=503)
UNTRACKED = MESSAGE_SETTINGS._replace(track_backups=False)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's body in its own event loop."""

    async def body() -> None:
        await work()

    asyncio.run(body())


def handle(world: World, *messages: Message) -> list[str]:
    """Handle messages until none is left; return the types of the published outcomes."""

    async def body() -> list[str]:
        return list(await world.run(*messages))

    return asyncio.run(body())


def failure(world: World) -> Any:
    """Return the ``error`` of the one published failure."""
    [published] = {
        each.id: each.data for each in world.outcomes if isinstance(each.data, BackupFailed)
    }.values()
    return published.error


def waits(world: World) -> list[str | None]:
    """Return the reason of each delay of the message."""
    return [each.reason for each in world.handled if each.kind == "waiting"]


def trace(number: int, name: str | None = None) -> Message:
    """Return a CTS trace, which proves only that a snapshot was requested, and may not name it."""
    body = {
        "resource_name": name,
        "trace_id": f"trace-{number}",
        "trace_name": "createSnapshot",
        "service_type": "EVS",
        "resource_type": "snapshot",
        "resource_id": made_up_id("snapshot", number),
        "code": "202",
        "project_id": PROJECT,
        "request": {"snapshot": {"volume_id": made_up_id("volume", number)}},
    }
    return Message(json.dumps(body).encode())


def replayed(message: Message, world: World, name: str) -> Message:
    """Return the message that replays a dead letter."""
    original, state, _ = parse_message(message, now=world.clock(), keys=world.keys)
    return Message(wrap(original, state._replace(replay=name), event_id="x", keys=world.keys))
