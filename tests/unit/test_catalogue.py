"""The list of commands: it agrees with the commands, which are imported only when they are called."""

import inspect
import subprocess
import sys

import pytest

from handler.commands.catalogue import COMMANDS, Listed


@pytest.mark.parametrize("listed", COMMANDS, ids=[each.name for each in COMMANDS])
def test_a_summary_is_what_the_help_says_first(listed: Listed) -> None:
    """The line in the root's help is the first paragraph of the command's own help."""
    help_text = inspect.cleandoc(listed.load().help)
    assert listed.summary == " ".join(help_text.partition("\n\n")[0].split())


def modules_after(*arguments: str) -> set[str]:
    """Return the modules that are imported when the command line has run."""
    program = (
        "import sys\nfrom handler.__main__ import main\n"
        f"sys.argv = ['snapshot-backup', *{arguments!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["settings", "--help"]])
def test_a_call_imports_no_other_command(arguments: list[str]) -> None:
    """A start costs no more than what it needs: neither the worker's parts nor a library's command line."""
    loaded = modules_after(*arguments)
    assert "handler.commands.plugins" in loaded
    assert set() == loaded & {
        "handler.commands.worker",
        "handler.commands.doctor",
        "pika",
        "httpx",
        "pygments",
    }
