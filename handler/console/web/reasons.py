"""Why messages wait, in few words for a page."""

from collections.abc import Mapping
from typing import Final

from events.message import WaitReason

REASONS: Final[Mapping[WaitReason, str]] = {
    "retry": "the event is tried again",
    "lookup": "a request may have worked, and is looked up",
    "track": "the backup is in progress",
    "publish": "no queue takes the outcome",
    "check": "the event is checked at the API",
    "room": "as many backups are in progress as allowed",
    "pause": "API, sign-in or ledger fails, or another message has the snapshot",
}
