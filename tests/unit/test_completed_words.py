"""Options that take one word of a few: each of the words completes in the shell, and no other."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from handler.cli import app
from tests.unit.test_help import EVERY, ROOT

_WORDS = re.compile(r"(?:is not one of|It is one of) (.*)\.$")


def closed() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each option that refuses another word: its name, the words that it takes, and the completions."""
    for names in EVERY:
        command: Any = ROOT
        for name in names:
            command = command.get_command(None, name)
        context = command.context_class(command, info_name="any", resilient_parsing=True)
        for option in command.params:
            if words := taken(option, context):
                completed = [each.value for each in option.shell_complete(context, "")]
                yield f"{' '.join(names)} {option.opts[0]}", words, completed


def taken(option: Any, context: Any) -> list[str]:
    """Return the words that an option names when it refuses another one."""
    try:
        option.process_value(context, ("no-such-word",) if option.multiple else "no-such-word")
    except typer.BadParameter as error:
        found = _WORDS.search(error.message)
        return [word.strip("'") for word in found[1].split(", ")] if found else []
    return []


CLOSED = list(closed())


@pytest.mark.parametrize(("option", "words", "completed"), CLOSED, ids=[option for option, _, _ in CLOSED])
def test_every_word_that_an_option_takes_completes(
    option: str, words: list[str], completed: list[str]
) -> None:
    """The Tab key offers exactly the words that the option takes."""
    assert words == completed, option


def test_all_options_with_a_few_words_are_known() -> None:
    """The options are found by what they refuse; these are some of them."""
    found = {option for option, _, _ in CLOSED}

    assert found >= {
        "report --by",
        "report --format",
        "waiting list --reason",
        "waiting retry-now --reason",
        "dead-letters drop --category",
        "package --with",
        "emulator --rules",
        "emulator --auth",
        "emulator --versions",
    }


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("snapshot-backup waiting list --reason pa", "pause paused"),
        ("snapshot-backup report --by h", "hour"),
        ("snapshot-backup report --format c", "csv"),
        ("snapshot-backup concurrency d", "default"),
        ("snapshot-backup waiting --install", ""),
    ],
)
def test_what_bash_gets_from_the_program(line: str, completed: str) -> None:
    """The program answers bash's question with the words that begin so."""
    words = line.split(" ")
    done = CliRunner().invoke(
        app,
        prog_name="snapshot-backup",
        env={
            "_SNAPSHOT_BACKUP_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert completed.split() == done.stdout.split()
