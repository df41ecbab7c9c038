"""What all worker processes of a supervisor have in common: the queue and the ledger.

Each process reads the settings at its start. A process that is started again after a change of ``.env`` could
use another ledger than the others, and make a second backup of a snapshot.
"""

from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl

from handler.addresses import database_url
from handler.errors import SettingsError
from handler.settings import Settings

_SECRETS: Final = frozenset({"user", "password", "passfile", "sslpassword"})


def agreement(settings: Settings) -> str:
    """Return a text that is the same where queue and ledger are; passwords may change, and are not in it."""
    ledger = database_url(settings.ledger_url.get_secret_value())
    options = [option for option in parse_qsl(ledger.query) if option[0] not in _SECRETS]
    names = (settings.snapshot_queue, ledger.scheme, ledger.hosts, ledger.path, options)
    return sha256(repr(names).encode()).hexdigest()[:16]


def check_agreement(settings: Settings, agreed: str) -> None:
    """Raise ``SettingsError`` where this process would not share queue and ledger with the others."""
    if agreement(settings) != agreed:
        raise SettingsError(
            "LEDGER_URL, SNAPSHOT_QUEUE: changed since the supervisor has started, and other workers use the "
            "earlier values; all end: start them again, such as by systemctl restart snapshot-backup"
        )
