"""Each way to sign in, over a socket, against an emulator that checks it by itself."""

import asyncio
from typing import Any

import pytest

from events.outcome import Category
from handler.errors import ApiError
from handler.request import BackupRequest
from handler.settings import Settings
from handler.vbs.auth import choose_auth
from handler.vbs.client import VbsClient
from handler.vbs.http import http_client
from infra.emulator.testing import Emulator, running_emulator

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
REQUEST = BackupRequest(
    volume_id="0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
    snapshot_id="b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8",
    name="nightly",
)
LONG_TOKEN = "t" * 16_384
PASSWORD = {"os_username": "demo", "os_password": "secret", "os_project_id": PROJECT}
KEYS = {"huaweicloud_sdk_ak": "emulator-ak", "huaweicloud_sdk_sk": "emulator-sk"}


def _create(emulator: Emulator, times: int, **sign_in: Any) -> list[object]:
    """Make ``times`` creates at once; return ids and errors."""

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


def test_a_token_of_sixteen_thousand_characters_is_fetched_and_sent() -> None:
    """As long as the vendor's may be, in the header of IAM's answer and in ours."""
    with running_emulator(auth="token", token=LONG_TOKEN) as emulator:
        (accepted,) = _create(emulator, 1, os_auth_url=f"{emulator.url}/v3", **PASSWORD)
        assert [emulator.backups()[0]["id"]] == [getattr(accepted, "id", accepted)]


def test_64_calls_over_8_connections_share_one_sign_in() -> None:
    """The sign-in needs a connection of the same pool; waiting calls must not hold them all."""
    with running_emulator(auth="token") as emulator:
        ends = _create(emulator, 64, os_auth_url=emulator.url, **PASSWORD)
        denied = [e for e in ends if isinstance(e, ApiError) and e.category is Category.DENIED]
        assert ([], 1) == (denied, sum(emulator.stats()["token"].values()))


def test_a_signed_request_is_accepted() -> None:
    """The emulator verifies it with a signer of its own."""
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
    """401 whatever the way; nothing is made."""
    with running_emulator(auth=auth) as emulator:
        (error,) = _create(emulator, 1, **sign_in)
        assert isinstance(error, ApiError)
        assert (Category.DENIED, 401, []) == (error.category, error.status, emulator.backups())
