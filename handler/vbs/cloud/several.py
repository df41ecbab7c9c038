"""Opens the clouds of ``OS_CLOUD`` where it has several names: each with its own sign-in and connections."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import httpx

from handler.backup.breaker import CircuitBreaker
from handler.backup.clouds import Cloud, Clouds
from handler.backup.hooks import BreakerChange, OnBreakerChange, OnCall, noop
from handler.errors import SettingsError
from handler.settings import Settings
from handler.vbs.auth.account import Account
from handler.vbs.auth.catalogue import catalogue_of
from handler.vbs.auth.choose import keystone_auth
from handler.vbs.client import VbsClient
from handler.vbs.cloud.choose import choose_endpoints
from handler.vbs.transport.http import http_client


def check_endpoints(settings: Settings, accounts: Sequence[Account]) -> None:
    """Raise ``SettingsError`` if a setting names one endpoint, or one cloud twice, for several clouds."""
    named = {"VBS_ENDPOINT": settings.vbs_endpoint, "EVS_ENDPOINT": settings.evs_endpoint}
    if wrong := [name for name, url in named.items() if url]:
        raise SettingsError(
            f"{', '.join(wrong)}: cannot be of several clouds at once; leave it out, or write it into each "
            "cloud of clouds.yaml, such as block_storage_endpoint_override: https://volume.example.com"
        )
    names = [account.name for account in accounts]
    if len({*names}) < len(names):
        raise SettingsError("OS_CLOUD: names a cloud twice; each is signed in to once, such as OS_CLOUD=a,b")


def open_clouds(
    settings: Settings,
    accounts: Sequence[Account],
    stack: AsyncExitStack,
    *,
    notify: OnCall = noop,
    changed: OnBreakerChange = noop,
) -> Clouds:
    """Make the clouds; ``stack`` closes their connections. Raises ``SettingsError``."""
    check_endpoints(settings, accounts)
    clouds = []
    for account in accounts:
        client = http_client(settings, account.tls, account.auth_url)
        stack.push_async_callback(client.aclose)
        auth = keystone_auth(account, client, settings, notify=notify)
        finder = choose_endpoints(settings, client, auth, account, notify=notify)
        api = VbsClient(client, finder, auth=auth, timeout=settings.vbs_timeout, notify=notify)
        breaker = CircuitBreaker(
            settings.concurrency,
            time.monotonic,
            doubt_pause=settings.wait_ladder[0],
            notify=partial(_of_cloud, changed, account.name),
        )
        clouds.append(Cloud(account.name, api, breaker, _learn(auth), time.monotonic))
    return Clouds(clouds, delays=settings.wait_ladder)


def _of_cloud(changed: OnBreakerChange, name: str, change: BreakerChange) -> None:
    changed(change._replace(cloud=name))


def _learn(auth: httpx.Auth) -> Callable[[], Awaitable[str | None]]:
    """Return a function that signs in, and returns the project of the token."""

    async def learn() -> str | None:
        catalogue = await catalogue_of(auth)
        return catalogue.project_id if catalogue else None

    return learn
