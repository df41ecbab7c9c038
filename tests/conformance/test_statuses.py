"""Each status of a create call, with and without a backup made, leads to exactly one backup."""

import asyncio
import json
from collections import Counter
from http import HTTPStatus

import httpx
import pytest

from handler.vbs.faults import create_error
from tests.twins.api import DoneThen
from tests.twins.events import message
from tests.twins.world import World
from tests.unit.backup.handling import replayed

FAULT = {"badRequest": {"code": 0, "message": "no"}}
BODIES = {
    "the API's own form": json.dumps(FAULT).encode(),
    "HTML": b"<html><h1>no</h1></html>",
    "empty": b"",
    "a gateway's JSON": b'{"message": "no"}',
    "Huawei's gateway": b'{"error_code": "APIGW.0201", "error_msg": "no", "request_id": "r"}',
    "cut off": json.dumps(FAULT).encode()[:-4],
    "a code that leaves the work in doubt": b'{"error": {"code": "VolumeBackup.0064", "message": "no"}}',
}
STATUSES = sorted({*range(100, 600, 4), *HTTPStatus})
"""Every status with a name, and every fourth of the others."""


async def _backups(status: int, body: bytes, *, done: bool) -> int:
    """Handle one event, replay its dead letters, and return the number of backups at the end."""
    world = World()
    error = create_error(status, httpx.Headers(), body)
    world.api.fail("create", DoneThen(error) if done else error)
    await world.run(message(1))
    for number, dead in enumerate(list(world.broker.dead)):
        await world.run(replayed(dead.message, world, f"replay-{number}"))
    return len(world.api.backups)


@pytest.mark.parametrize("done", [True, False], ids=["the work is done", "the work is not done"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_answer_of_any_status_leads_to_exactly_one_backup(body: bytes, done: bool) -> None:
    """Retries and a replay look up the backup before they create it, so that each snapshot has one."""

    async def run() -> Counter[int]:
        return Counter([await _backups(status, body, done=done) for status in STATUSES])

    assert {1: len(STATUSES)} == asyncio.run(run())
