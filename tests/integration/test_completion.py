"""Shell completion, in real shells at a terminal: what the Tab key adds."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
[LINE] = re.findall(r'`(eval "\$\(snapshot-backup [^`]+)`', (ROOT / "handler" / "README.md").read_text())
"""The line that the document gives for the shell's own file."""
FILES = {"bash": (".bashrc", LINE), "zsh": (".zshrc", f"autoload -Uz compinit; compinit -u\n{LINE}")}


@pytest.fixture(params=FILES)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["Shell"]:
    """Start a shell in a home where the documented line was added."""
    name = str(request.param)
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    program = tmp_path / "bin" / "snapshot-backup"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m handler "$@"\n')
    program.chmod(0o755)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "TERM": "xterm",
        "PS1": "$ ",
    }
    file, text = FILES[name]
    (tmp_path / file).write_text(f"{text}\n")
    shell = Shell((name, "-i"), environment, tmp_path)
    yield shell
    shell.close()


class Shell:
    """An interactive shell at a terminal."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
        self._ours, its = pty.openpty()
        self._process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=its, stdout=its, stderr=its, start_new_session=True
        )
        os.close(its)
        self._shown = ""

    def type(self, keys: str) -> None:
        """Send keys."""
        os.write(self._ours, keys.encode())

    def shows(self, text: str) -> bool:
        """Wait until the shell shows this text, and return whether it does."""
        over = time.monotonic() + patient(SECONDS)
        while text not in self._shown and time.monotonic() < over:
            if select.select([self._ours], [], [], 0.1)[0]:
                part = os.read(self._ours, 65_536).decode(errors="replace")
                self._shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\b\r]", "", part)
        return text in self._shown

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.mark.parametrize(
    ("keys", "completed"),
    [
        ("snapshot-backup dead-l\t", "dead-letters"),
        ("snapshot-backup dead-letters list --category quo\t", "quota"),
        ("snapshot-backup emulator --ru\t", "--rules"),
    ],
)
def test_the_tab_key_completes_commands_options_and_values(shell: Shell, keys: str, completed: str) -> None:
    """Commands, options and closed sets of values are completed."""
    shell.type("echo re''ady\r")
    assert shell.shows("ready"), shell._shown
    shell.type(keys)

    assert shell.shows(completed), shell._shown
