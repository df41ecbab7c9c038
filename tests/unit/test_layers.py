"""Rules for imports between modules: the order of rooms, their drivers, and no import cycles."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
OURS = {"events", "handler", "infra", "tests"}

MAY_KNOW = {"events": {"events"}, "handler": {"events", "handler"}, "infra": {"events", "handler", "infra"}}

TIERS: Sequence[frozenset[str]] = (
    frozenset({"events"}),
    frozenset({"handler.errors"}),
    frozenset(
        {
            "handler.addresses",
            "handler.causes",
            "handler.extras",
            "handler.json_file",
            "handler.loopback",
            "handler.output_file",
            "handler.printable",
            "handler.redaction",
            "handler.slips",
            "handler.streams",
            "handler.tasks",
            "handler.tls_files",
            "handler.values",
        }
    ),
    frozenset({"handler.amqp_url", "handler.proxies", "handler.sources"}),
    frozenset({"handler.fields"}),
    frozenset({"handler.backup", "handler.settings", "handler.unknown_names"}),
    frozenset({"handler.meanings"}),
    frozenset({"handler.broker", "handler.ledger", "handler.telemetry", "handler.vbs.transport"}),
    frozenset({"handler.vbs"}),
    frozenset({"handler.vbs.auth"}),
    frozenset({"handler.vbs.cloud"}),
    frozenset({"handler.bootstrap"}),
    frozenset({"handler.dead_letters", "handler.function", "handler.function.bundle", "handler.worker"}),
    frozenset({"handler.console", "handler.doctor", "handler.status"}),
    frozenset({"handler.console.web", "handler.supervisor"}),
    frozenset({"handler.commands"}),
    frozenset({"handler.commands.dead_letters"}),
    frozenset({"handler.cli"}),
    frozenset({"handler.__main__"}),
)
"""The rooms, lowest first: a module imports from its own room and from lower tiers, never from its own tier's
other rooms or from a higher one."""

BACKUP_KNOWS = {"events", "handler.backup", "handler.errors", "handler.redaction", "pydantic"}
"""The only imports of message handling besides the standard library: protocols, no driver."""

DRIVERS: Mapping[str, set[str]] = {
    "aiohappyeyeballs": {"handler.vbs.transport"},
    "httptools": {"handler.vbs.transport"},
    "httpx": {
        "handler.doctor",
        "handler.vbs",
        "handler.vbs.auth",
        "handler.vbs.cloud",
        "handler.vbs.transport",
    },
    "jinja2": {"handler.console.web"},
    "opentelemetry": {"handler.telemetry"},
    "pika": {"handler.broker", "handler.commands", "handler.dead_letters", "handler.doctor"},
    "prometheus_client": {"handler.status", "handler.supervisor"},
    "psycopg": {"handler.ledger"},
    "requests": {"handler.telemetry"},
    "rich": {"handler.commands", "handler.commands.dead_letters"},
    "sqlite3": {"handler.ledger"},
    "starlette": {"handler.console.web"},
    "typer": {"handler.cli", "handler.commands", "handler.commands.dead_letters"},
    "uvicorn": {"handler.console.web"},
    "uvloop": {"handler.worker"},
}
"""The rooms that import each library that communicates with other systems."""

NOT_EMPTY = {"handler.function"}
"""Packages whose ``__init__`` holds code: the entry that the function's bundle imports."""


def name_of(path: Path) -> str:
    """Return the dotted name of a module's file."""
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


PATHS = {name_of(path): path for top in ("events", "handler") for path in sorted((TOP / top).rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes()) for name, path in PATHS.items()}
MODULES = {name for name, tree in TREES.items() if len(tree.body) > 1}
"""All modules except packages with an empty ``__init__``."""

ROOMS = {room: tier for tier, rooms in enumerate(TIERS) for room in rooms}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield all modules that a module imports; for ``from a import b`` it is ``a.b`` if that is a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (
                    f"{module}.{alias.name}" if f"{module}.{alias.name}" in PATHS else module
                    for alias in names
                )


def room_of(module: str) -> str | None:
    """Return the innermost room that a module is in, or None."""
    while module and module not in ROOMS:
        module = module.rpartition(".")[0]
    return module or None


GRAPH = {module: {name for name in imported(TREES[module]) if name in MODULES} for module in MODULES}


@pytest.mark.parametrize("package", MAY_KNOW)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    """``events`` imports none of our other packages; ``infra`` may import all except the tests."""
    paths = list((TOP / package).rglob("*.py"))
    known = {
        (path.name, top)
        for path in paths
        for name in imported(ast.parse(path.read_bytes()))
        if (top := name.partition(".")[0]) in OURS - MAY_KNOW[package]
    }

    assert paths
    assert set() == known


def test_every_module_is_in_a_room_and_every_room_has_modules() -> None:
    """``TIERS`` has a room for each module, and no room without a module."""
    assert set() == {module for module in MODULES if room_of(module) is None}
    assert set(ROOMS) == {room_of(module) for module in MODULES}


def test_no_room_imports_from_a_higher_tier() -> None:
    """A room imports from lower tiers only, so that no two rooms import each other."""
    wrong = {
        (module, name)
        for module, names in GRAPH.items()
        for name in names
        if (here := room_of(module) or "") != (there := room_of(name) or "") and ROOMS[there] >= ROOMS[here]
    }

    assert set() == wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    """No modules import each other in a cycle, even within a room, in functions or for types."""
    TopologicalSorter(GRAPH).prepare()


def test_handling_a_message_needs_no_driver() -> None:
    """``backup`` imports no driver, so that it can be tested without broker, API and database."""
    foreign = {
        (module, name)
        for module in MODULES
        if room_of(module) == "handler.backup"
        for name in imported(TREES[module])
        if (room_of(name) or name.partition(".")[0]) not in BACKUP_KNOWS | sys.stdlib_module_names
        or name.partition(".")[0] in DRIVERS
    }

    assert set() == foreign


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_is_imported_in_its_rooms_only(driver: str) -> None:
    """Exactly the rooms in ``DRIVERS`` import a driver, so that it can be replaced there."""
    users = {
        module for module in MODULES if driver in {name.partition(".")[0] for name in imported(TREES[module])}
    }

    assert DRIVERS[driver] == {room_of(module) for module in users}


def test_an_init_holds_nothing_but_its_docstring() -> None:
    """Only ``handler.function`` has code in ``__init__``, since each import of a submodule would run it."""
    packages = {name for name, path in PATHS.items() if path.name == "__init__.py"}

    assert NOT_EMPTY == packages & MODULES
