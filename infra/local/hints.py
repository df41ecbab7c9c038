"""How to use a running system from another shell."""

import os
import sys
import uuid
from pathlib import Path


def how_to_use(amqp_url: str, endpoint: str) -> str:
    """Return lines to paste: settings, an event of its own, and where to look."""
    program = _here(Path(sys.executable).with_name("snapshot-backup"))
    return f"""\
From another shell in this folder (publish twice, and there is still one backup):

  export AMQP_URL='{amqp_url}'
  export VBS_ENDPOINT={endpoint}
  {program} publish --name hello \\
    --project-id {uuid.uuid4().hex} \\
    --volume-id {uuid.uuid4()} \\
    --snapshot-id {uuid.uuid4()}
  curl $VBS_ENDPOINT/_emulator/backups
"""


def _here(path: Path) -> str:
    """Write a path as short as it can be from the present folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
