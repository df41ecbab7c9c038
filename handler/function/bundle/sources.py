"""Our own modules that the function needs: what its entry imports, and what that imports, and so on."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENTRY = "handler.function"
INDEX = '''\
"""What FunctionGraph calls: ``index.handler``, and ``index.initializer`` for each new instance."""

from handler.function import handler, initializer

__all__ = ["handler", "initializer"]
'''


def sources() -> Mapping[str, bytes]:
    """Return each file's path in the bundle and its content; ``index.py`` is at the root."""
    files = {str(path.relative_to(ROOT)): path.read_bytes() for path in needed(ENTRY)}
    return {"index.py": INDEX.encode(), **files}


def needed(entry: str) -> set[Path]:
    """Return the files of a module, of all that it imports of ours, and of the packages they are in.

    Imports inside functions count too, so that what is imported late is there when it is wanted.
    """
    found: set[Path] = set()
    names = [entry]
    while names:
        name = names.pop()
        path = _file(name)
        if path is None or path in found:
            continue
        found.add(path)
        names += [name.rpartition(".")[0], *_imported(path)]
    return found


def _file(name: str) -> Path | None:
    """Return where a module of ours is; None for a module of another package."""
    path = ROOT.joinpath(*name.split("."))
    if not name or path.parts[len(ROOT.parts)] not in ("events", "handler"):
        return None
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imported(path: Path) -> Iterator[str]:
    """Yield what a file imports; of ``from a import b`` both ``a`` and ``a.b``, which may be a module."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
