"""The account of the environment: what an ``openrc`` file sets, read as settings of ours."""

from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from handler.settings import Settings
from handler.vbs.auth.account import Method
from handler.vbs.auth.options import KEYS, Option, Options

_OLDER: Final[Mapping[str, str]] = {
    "project_id": "tenant_id",
    "project_name": "tenant_name",
    "interface": "endpoint_type",
    "auth_type": "auth_plugin",
}
"""Names that older ``openrc`` files use; they count where the newer one is not set."""

_CHECK: Final = "OS_USERNAME, OS_PASSWORD, OS_USER_DOMAIN_NAME and the project"
_CHECK_CREDENTIAL: Final = "OS_APPLICATION_CREDENTIAL_ID and OS_APPLICATION_CREDENTIAL_SECRET"


def environment_options(settings: Settings, method: Method = "password") -> Options:
    """Return the options that the ``OS_`` settings are; ``method`` says what an error lets check."""
    values: dict[str, Option] = {}
    for key in KEYS:
        for name in (key, _OLDER.get(key, key)):
            if key not in values and (text := _text(settings, name)):
                values[key] = Option(text, variable(name))
    check = _CHECK_CREDENTIAL if method == "application_credential" else _CHECK
    return Options(values, variable, check)


def variable(key: str) -> str:
    """Return the variable of an option."""
    return f"OS_{key.upper()}"


def _text(settings: Settings, key: str) -> str | None:
    value = getattr(settings, f"os_{key}", None)
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)
