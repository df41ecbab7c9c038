"""Metadata of a backup, which Cinder keeps from microversion 3.43 on: Cinder's limits, and our own keys.

Our keys say of which snapshot a backup is, and which event asked for it, for programs that read it.
"""

import re
from collections.abc import Mapping

PREFIX = "snapshot-backup."
SNAPSHOT_KEY = f"{PREFIX}snapshot_id"
EVENT_KEY = f"{PREFIX}event_id"

LIMIT = 255
"""Characters of a key, a value, and the name of an availability zone (cinder/api/validation)."""

# Compiled on first use: the cold start of a function does not wait for them.
_KEY = rf"[a-zA-Z0-9_:. /-]{{1,{LIMIT}}}"
_PLAIN = rf"[ -~]{{1,{LIMIT}}}"


def metadata_problem(metadata: Mapping[str, str]) -> str | None:
    """Return what Cinder would refuse in the metadata of a rule, or what is ours to set."""
    if any(not re.fullmatch(_KEY, key) for key in metadata):
        return f"keys of metadata must be 1 to {LIMIT} letters, digits, blanks and - _ : . /"
    if any(key.startswith(PREFIX) for key in metadata):
        return f"keys of metadata must not begin with {PREFIX}, which the program sets itself"
    if any(len(value) > LIMIT for value in metadata.values()):
        return f"values of metadata must be at most {LIMIT} characters"
    return None


def marks(snapshot_id: str, event_id: str | None) -> Mapping[str, str]:
    """Return our own metadata. An event id that some database cannot keep is left out."""
    found = {SNAPSHOT_KEY: snapshot_id}
    if event_id and re.fullmatch(_PLAIN, event_id):
        found[EVENT_KEY] = event_id
    return found
