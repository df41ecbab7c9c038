"""Endpoints against an emulator over a socket: a path, v2 that is gone, snapshots at another endpoint."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from handler.backup.request import BackupRequest
from handler.settings import Settings
from handler.vbs.auth.choose import choose_auth
from handler.vbs.client import VbsClient
from handler.vbs.cloud.choose import choose_endpoints
from handler.vbs.transport.http import http_client
from infra.emulator.testing import running_emulator

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
REQUEST = BackupRequest(volume_id=VOLUME, snapshot_id=SNAPSHOT, name="nightly")

T = TypeVar("T")


def use(settings: Mapping[str, Any], work: Callable[[VbsClient], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with the client that these settings make."""

    async def run() -> T:
        known = Settings(_env_file=None, **settings)
        client = http_client(known)
        auth = choose_auth(known, client)
        api = VbsClient(client, choose_endpoints(known, client, auth), auth=auth)
        try:
            return await work(api)
        finally:
            await api.aclose()

    return asyncio.run(run())


async def back_up(api: VbsClient) -> list[str]:
    """Go through every route; return the ids of the backups that are found."""
    snapshot = await api.show_snapshot(PROJECT, SNAPSHOT)
    made = await api.create(PROJECT, REQUEST)
    shown = await api.show(PROJECT, made.id)
    found = await api.find(PROJECT, VOLUME, SNAPSHOT, "nightly")
    assert snapshot is not None
    assert shown is not None
    return [each.id for each in found]


def test_every_route_works_at_an_endpoint_with_a_path_and_without_v2() -> None:
    """The version is found, and the snapshot is shown at EVS_ENDPOINT."""
    with running_emulator(path="/volume", evs_path="/evs", versions="v3") as emulator:
        settings = {"vbs_endpoint": f"{emulator.url}/volume", "evs_endpoint": f"{emulator.url}/evs"}
        assert 1 == len(use(settings, back_up)) == len(emulator.backups())
        assert {"300": 2} == emulator.stats()["versions"]


def test_signed_calls_reach_an_endpoint_with_a_path() -> None:
    """The path is part of what an access key signs."""
    with running_emulator(path="/volume", evs_path="/evs/api", auth="aksk") as emulator:
        settings = {
            "vbs_endpoint": f"{emulator.url}/volume",
            "evs_endpoint": f"{emulator.url}/evs/api",
            "vbs_project_id": PROJECT,
            "huaweicloud_sdk_ak": "emulator-ak",
            "huaweicloud_sdk_sk": "emulator-sk",
        }
        assert 1 == len(use(settings, back_up))
