"""The help of every command: its width, its wrapping, and its examples."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from handler.cli import app

ROOT: Any = get_command(app)


def walk(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of the root, each group and each command, those of entry points included."""
    yield names
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from walk(command.get_command(None, name), *names, name)


EVERY = list(walk(ROOT))
EACH = pytest.mark.parametrize("names", EVERY, ids=lambda names: " ".join(names) or "root")


def printed(names: tuple[str, ...], *, columns: int = 80) -> str:
    """Return the help in a terminal of this width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        context = ROOT.make_context("snapshot-backup", ["--none"], resilient_parsing=True)
        for name in names:
            command = context.command.get_command(context, name)
            context = command.context_class(command, info_name=name, parent=context)
        return str(context.get_help())


def paragraphs(text: str) -> Iterator[list[str]]:
    """Yield the lines of each paragraph, and of each row of a section's two columns."""
    in_section, block = False, list[str]()
    for line in text.splitlines():
        in_section = in_section or re.fullmatch(r"[A-Z]\w+:", line) is not None
        if not line or (in_section and re.match(r"  \S", line)):
            yield block
            block = []
        if line:
            block.append(line)
    yield block


@EACH
@pytest.mark.parametrize("columns", [80, 60])
def test_no_line_of_a_help_is_wider_than_the_terminal(names: tuple[str, ...], columns: int) -> None:
    """The help fits the terminal, so that the terminal breaks no line."""
    assert [] == [line for line in printed(names, columns=columns).splitlines() if len(line) > columns]


@EACH
@pytest.mark.parametrize("columns", [80, 60])
def test_no_line_of_a_help_ends_before_it_is_full(names: tuple[str, ...], columns: int) -> None:
    """A line ends where the next word would not fit, however the text is broken in the source."""
    prose = printed(names, columns=columns).partition("\n  Example")[0]
    ragged = [
        (line, following)
        for block in paragraphs(prose)
        for line, following in pairwise(block)
        if not line.startswith("Usage") and len(line) + 1 + len(following.split()[0]) <= columns - 6
    ]
    assert [] == ragged


@EACH
def test_no_option_and_no_example_is_broken_by_the_end_of_a_line(names: tuple[str, ...]) -> None:
    """No line ends in a hyphen, since a part of an option cannot be copied."""
    assert [] == [line for line in printed(names, columns=60).splitlines() if re.search(r"\w-$", line)]


@EACH
def test_every_command_takes_the_short_option(names: tuple[str, ...]) -> None:
    """``-h`` prints the same as ``--help``."""
    short, long = (CliRunner().invoke(app, [*names, option]) for option in ("-h", "--help"))

    assert (0, 0) == (short.exit_code, long.exit_code)
    assert short.stdout == long.stdout


@EACH
def test_a_help_has_words_and_no_types(names: tuple[str, ...]) -> None:
    """Neither ``<list[str]>`` nor ``{ID}`` nor ``x>=1``: a person reads it."""
    assert [] == re.findall(r"<[a-z][^ ]*>|\{[A-Z]|\[\[|\bx[<>]=|<=x", printed(names))


@EACH
def test_every_argument_has_a_meaning(names: tuple[str, ...]) -> None:
    """What stands in the usage line is explained below it."""
    _, _, section = printed(names).partition("Arguments:\n")

    assert all(len(line.split("  ")) > 2 for line in section.partition("\n\n")[0].splitlines())


@EACH
def test_a_help_is_plain_text(names: tuple[str, ...]) -> None:
    """The help has neither escapes nor characters that a terminal may lack."""
    assert printed(names).isascii() or "…" in printed(names)
    assert "\x1b" not in printed(names)


def examples(names: tuple[str, ...]) -> list[list[str]]:
    """Return the examples at the end of a help, as arguments."""
    _, _, text = printed(names).partition("\n  Example")
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("snapshot-backup ")]


@EACH
def test_every_command_has_an_example_that_can_be_parsed(names: tuple[str, ...]) -> None:
    """Each command has examples; the command line takes their commands and options."""
    is_group = not names or (len(names) == 1 and any(each[:1] == names and len(each) > 1 for each in EVERY))
    calls = examples(names)

    assert calls or (is_group and names)
    for call in calls:
        done = CliRunner().invoke(app, [*call, "--help"])
        assert 0 == done.exit_code, done.output
        assert is_group or call[: len(names)] == list(names)
