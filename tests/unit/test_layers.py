"""Who may know whom: events ← handler ← infra; the story and its policy know no driver."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
OURS = {"events", "handler", "infra", "tests"}
DRIVERS = {"aiohappyeyeballs", "httptools", "httpx", "pika", "psycopg", "sqlite3", "uvloop"}

MAY_KNOW = {"events": {"events"}, "handler": {"events", "handler"}, "infra": {"events", "handler", "infra"}}


def imported(path: Path) -> Iterator[str]:
    """Return the top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", MAY_KNOW)
def test_a_package_knows_only_what_is_below_it(package: str) -> None:
    """The language of the bus knows nobody; what it runs on knows all."""
    modules = list((TOP / package).rglob("*.py"))
    known = {
        (path.name, name) for path in modules for name in imported(path) if name in OURS - MAY_KNOW[package]
    }

    assert modules
    assert set() == known


@pytest.mark.parametrize("module", ["process", "policy"])
def test_the_story_and_its_policy_know_no_driver(module: str) -> None:
    """They know protocols, so that they can be read, and tested, without a broker, an API or a database."""
    assert set() == DRIVERS & set(imported(TOP / "handler" / f"{module}.py"))


@pytest.mark.parametrize("package", ["events", "handler"])
def test_an_init_holds_nothing_but_its_docstring(package: str) -> None:
    """Importing a module runs the ``__init__`` of each package around it, so code there hides imports."""
    trees = {path: ast.parse(path.read_bytes()) for path in (TOP / package).rglob("__init__.py")}

    assert trees
    assert [] == [path for path, tree in trees.items() if len(tree.body) > 1]
