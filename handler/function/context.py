"""The settings of the function, from its context's user data.

The context is the platform's object. Only documented methods that work are called.
"""

from typing import Any

from pydantic import SecretStr

from handler.settings import Loaded, Settings, load


def settings_of(context: Any) -> Loaded:
    """Read the settings from the function's user data, then from where all settings come.

    Without a ``LEDGER_URL`` the ledger is ``none``: a file would be on one instance's own disk, gone with it
    and unknown to the others, so that only a lookup finds what they have made.

    Raises:
        SettingsError: with one line that names each bad variable.

    """
    user_data = {field: context.getUserData(field.upper()) for field in Settings.model_fields}
    settings, sources = load(**{field: value for field, value in user_data.items() if value})
    if "ledger_url" in settings.model_fields_set:
        return Loaded(settings, sources)
    return Loaded(settings.model_copy(update={"ledger_url": SecretStr("none")}), sources)
