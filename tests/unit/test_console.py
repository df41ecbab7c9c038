"""The console of all commands: what it prints where it is not a terminal, and where it is one."""

import io

import pytest
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from handler.commands.console import SafeConsole


def printed(*, terminal: bool) -> str:
    """Return a table as a console prints it, and a line that is longer than the console is wide."""
    out = io.StringIO()
    console = SafeConsole(file=out, width=40, force_terminal=terminal)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("area")
    table.add_column("text")
    table.add_row("a", Text("short", style="red"))
    table.add_row("a longer one", "")
    console.print(table)
    console.print("word " * 20, soft_wrap=True)
    return out.getvalue()


def test_no_line_of_a_table_in_a_pipe_ends_in_spaces() -> None:
    """Cells are filled with spaces up to the next one, and the last cell is not."""
    lines = printed(terminal=False).split("\n")

    assert lines == [line.rstrip() for line in lines]
    assert "  a              short" in lines
    assert ("word " * 20).rstrip() in lines


@pytest.mark.parametrize("end", ["\n", ""])
def test_the_end_of_a_text_in_a_pipe_stays(end: str) -> None:
    """What is printed has its own end, once."""
    out = io.StringIO()
    SafeConsole(file=out).print("[bold]one[/]\ntwo", end=end)

    assert f"one\ntwo{end}" == out.getvalue()


def test_a_terminal_gets_what_rich_prints() -> None:
    """Colours are there, and the cells are whole."""
    assert "\x1b[31mshort\x1b[0m" in printed(terminal=True)
