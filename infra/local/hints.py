"""Lines for the user to paste into another shell, to use a system that `infra/up` runs."""

import os
import sys
import uuid
from pathlib import Path


def how_to_use(amqp_url: str, endpoint: str, ledger_url: str, console: str) -> str:
    """Return the lines: settings, a command that publishes an event, and some that show what there is."""
    program = _here(Path(sys.executable).with_name("snapshot-backup"))
    return f"""\
In a browser: {console} shows the samples, their backups and the dead letters.

From another shell in this folder (if you publish twice, there is still one backup):

  export AMQP_URL='{amqp_url}'
  export VBS_ENDPOINT={endpoint}
  export LEDGER_URL={ledger_url}
  {program} publish --name hello \\
    --project-id {uuid.uuid4().hex} \\
    --volume-id {uuid.uuid4()} \\
    --snapshot-id {uuid.uuid4()}
  curl $VBS_ENDPOINT/_emulator/backups
  {program} dead-letters list
"""


def _here(path: Path) -> str:
    """Return a path relative to the current folder if it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
