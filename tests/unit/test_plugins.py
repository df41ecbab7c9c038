"""Commands from entry points: each is imported only when it is called or listed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app

WORKS = (
    "import typer\ndef command(size: int = 1) -> None:\n    '''Measure a plug.'''\n    print('size', size)\n"
)
NEEDS_MORE = "import a_package_that_is_not_installed\n"
REASON = "plug: not available: No module named 'a_package_that_is_not_installed'\n"


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install metadata of a command named ``plug``, and yield the path of its module."""
    metadata = tmp_path / "plug-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[snapshot_backup.commands]\nplug = plug_module:command\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "plug_module.py"
    sys.modules.pop("plug_module", None)


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line, and return exit code, standard output and standard error."""
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return done.exit_code, done.stdout, done.stderr


def test_a_command_of_an_entry_point_is_listed_and_runs(plug: Path) -> None:
    """The root's help shows the command's first sentence, and the command's options work."""
    plug.write_text(WORKS)

    _, help_text, _ = run("--help")
    assert "Measure a plug." in help_text
    assert (0, "size 3\n", "") == run("plug", "--size", "3")
    assert "--size" in run("plug", "--help")[1]


def test_a_command_that_is_not_called_is_not_imported(plug: Path) -> None:
    """The module of a command is not imported when another command is called."""
    plug.write_text(WORKS)

    assert 0 == run("schemas", "--help")[0]
    assert "plug_module" not in sys.modules


def test_a_command_that_cannot_be_imported_stops_no_other(plug: Path) -> None:
    """The root's help lists a command that cannot be imported with the reason, and all other commands."""
    plug.write_text(NEEDS_MORE)

    code, help_text, _ = run("--help")
    assert 0 == code
    words = " ".join(help_text.split())
    assert "Not available: No module named 'a_package_that_is_not_installed'." in words
    assert "Serve a local stand-in of the backup API" in words


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--size", "3", "more")], ids=repr)
def test_a_command_that_cannot_be_imported_fails_with_one_line(
    plug: Path, arguments: tuple[str, ...]
) -> None:
    """A command that cannot be imported prints the reason and exits with 2, whatever its arguments."""
    plug.write_text(NEEDS_MORE)

    assert (2, "", REASON) == run("plug", *arguments)


def test_an_unknown_command_is_wrong_usage() -> None:
    """For an unknown command, the error names it, and the exit code is 2."""
    code, _, error = run("no-such-command")

    assert 2 == code
    assert "No such command: no-such-command" in error
