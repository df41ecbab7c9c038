"""Makes what finds the endpoints, from the settings, the sign-in and its account."""

from typing import TYPE_CHECKING

import httpx

from handler.backup.hooks import OnCall, noop
from handler.errors import SettingsError
from handler.settings import Settings
from handler.vbs.cloud.catalogued import SNAPSHOT_TYPES, TYPES, Wanted, overridden
from handler.vbs.cloud.finder import Finder

if TYPE_CHECKING:
    from handler.vbs.auth.account import Account

_NO_ENDPOINT = (
    "VBS_ENDPOINT: is not set, and this sign-in has no catalogue that names it; it is scheme and host, "
    "such as https://vbs.region.example.com"
)


def choose_endpoints(
    settings: Settings,
    client: httpx.AsyncClient,
    auth: httpx.Auth | None,
    account: "Account | None" = None,
    *,
    notify: OnCall = noop,
) -> Finder:
    """Make what finds the API. Raises ``SettingsError`` where neither a setting nor a catalogue names it."""
    overrides = dict(account.overrides) if account else {}
    backups = settings.vbs_endpoint or overridden(overrides, TYPES)
    if not backups and not hasattr(auth, "catalogue"):
        raise SettingsError(_NO_ENDPOINT)
    wanted = Wanted(
        backups,
        settings.evs_endpoint or overridden(overrides, SNAPSHOT_TYPES),
        settings.vbs_api_version,
        account.region if account else settings.os_region_name,
        account.interface if account else "public",
        settings.vbs_allow_plaintext,
    )
    return Finder(wanted, client, auth, timeout=settings.vbs_timeout, notify=notify)
