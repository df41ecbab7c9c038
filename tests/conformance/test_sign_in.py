"""Tests of each sign-in over a socket, against an emulator that checks it independently."""

import asyncio
from typing import Any

import httpx
import pytest

from events.outcome import Category
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs.auth.choose import choose_auth
from handler.vbs.client import VbsClient
from handler.vbs.transport.http import http_client
from infra.emulator.testing import Emulator, running_emulator

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
REQUEST = BackupRequest(
    volume_id="0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
    snapshot_id="b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8",
    name="nightly",
)
PASSWORD = {"os_username": "demo", "os_password": "secret", "os_project_id": PROJECT}
KEYS = {"huaweicloud_sdk_ak": "emulator-ak", "huaweicloud_sdk_sk": "emulator-sk"}


def _create(emulator: Emulator, times: int, **sign_in: Any) -> list[object]:
    """Make ``times`` concurrent creates; return backups and errors."""

    async def run() -> list[object]:
        settings = Settings(_env_file=None, vbs_endpoint=emulator.url, concurrency=8, **sign_in)
        client = http_client(settings)
        api = VbsClient(client, emulator.url, auth=choose_auth(settings, client))
        try:
            creates = (api.create(PROJECT, REQUEST) for _ in range(times))
            return list(await asyncio.gather(*creates, return_exceptions=True))
        finally:
            await api.aclose()

    return asyncio.run(run())


def test_64_calls_over_8_connections_share_one_renewal() -> None:
    """If 64 calls find the token invalid, one of them renews it, and the API answers all of them."""

    async def run(emulator: Emulator) -> list[object]:
        settings = Settings(
            _env_file=None,
            vbs_endpoint=emulator.url,
            vbs_timeout=5,
            os_auth_url=emulator.url,
            **PASSWORD,  # type: ignore[arg-type] # parsed by pydantic
        )
        client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=8), timeout=5)
        api = VbsClient(client, emulator.url, auth=choose_auth(settings, client))
        try:
            await api.create(PROJECT, REQUEST)
            emulator.reset()  # makes all tokens invalid
            creates = (api.create(PROJECT, REQUEST) for _ in range(64))
            return list(await asyncio.gather(*creates, return_exceptions=True))
        finally:
            await api.aclose()

    with running_emulator(auth="token") as emulator:
        ends = asyncio.run(run(emulator))
        unanswered = [e for e in ends if isinstance(e, ApiError) and e.status is None]
        assert ([], 1) == (unanswered, sum(emulator.stats()["token"].values()))


def test_a_signed_request_is_accepted() -> None:
    """The emulator accepts a signed request, which it verifies with its own implementation."""
    with running_emulator(auth="aksk") as emulator:
        (accepted,) = _create(emulator, 1, **KEYS)
        assert [emulator.backups()[0]["id"]] == [getattr(accepted, "id", accepted)]


@pytest.mark.parametrize(
    ("auth", "sign_in"),
    [
        ("token", {"os_token": "wrong"}),
        ("aksk", {**KEYS, "huaweicloud_sdk_sk": "wrong"}),
        ("token", {}),
    ],
)
def test_a_wrong_sign_in_is_denied(auth: str, sign_in: dict[str, str]) -> None:
    """A wrong sign-in of each kind gets a 401, and no backup is made."""
    with running_emulator(auth=auth) as emulator:
        (error,) = _create(emulator, 1, **sign_in)
        assert isinstance(error, ApiError)
        assert (Category.DENIED, 401, []) == (error.category, error.status, emulator.backups())
