"""The function's bundle: which modules and packages it holds, and how the file is written."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.function.bundle import archive
from handler.function.bundle.bytecode import NotCompiled, compiled, compiler
from handler.function.bundle.sources import sources
from handler.function.bundle.wheels import lock_file

LOCK = Path(__file__).parents[3] / "requirements.lock"
BASE: frozenset[str] = frozenset()
POSTGRES = frozenset({"postgres"})
FILES = {"b/x.py": b"x = 1\n", "index.py": b"", "a.so": bytes(10_000)}


def pins(path: Path) -> set[str]:
    """Every ``name==version`` of a lock file."""
    return set(re.findall(r"^[\w.-]+==\S+", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("extras", [BASE, POSTGRES], ids=["base", "postgres"])
def test_the_versions_are_those_that_are_tested(extras: frozenset[str]) -> None:
    """Both lock files are made from the checkout's."""
    assert set() == pins(lock_file(extras)) - pins(LOCK)


@pytest.mark.parametrize("extras", [BASE, POSTGRES], ids=["base", "postgres"])
def test_every_package_has_hashes_and_no_address(extras: frozenset[str]) -> None:
    """pip refuses what differs, wherever it comes from."""
    text = lock_file(extras).read_text(encoding="utf-8")

    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text)[1:])
    assert "://" not in text


def test_postgresql_is_there_only_on_request() -> None:
    """Its driver is half of the bundle."""
    only = {pin.partition("==")[0] for pin in pins(lock_file(POSTGRES)) - pins(lock_file(BASE))}

    assert {"psycopg", "psycopg-binary"} == only


def test_the_bundle_has_what_the_function_imports_late_too() -> None:
    """The ledger in PostgreSQL is imported when the settings ask for it."""
    files = sources()

    assert {"index.py", "handler/function/entry.py", "handler/ledger/postgres.py"} <= set(files)
    assert {"handler/__init__.py", "handler/ledger/__init__.py", "events/__init__.py"} <= set(files)


def test_the_bundle_has_no_command_line() -> None:
    """Nor anything else that only the worker's machine needs."""
    assert [] == [
        name
        for name in sources()
        if name.startswith(("handler/commands", "handler/function/bundle", "handler/cli", "infra"))
    ]


def test_index_has_the_two_names_that_the_platform_is_given() -> None:
    """Both must be in the same file, and that at the root."""
    space: dict[str, object] = {}
    exec(sources()["index.py"], space)

    assert callable(space["handler"])
    assert callable(space["initializer"])


def test_the_same_files_make_the_same_bytes() -> None:
    """In whatever order they come."""
    assert archive.pack(FILES) == archive.pack(dict(reversed(FILES.items())))


def test_what_is_written_can_be_unpacked(tmp_path: Path) -> None:
    """And the report tells its sizes."""
    written = archive.write(tmp_path / "f.zip", FILES)

    with zipfile.ZipFile(tmp_path / "f.zip") as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == FILES
    assert ((tmp_path / "f.zip").stat().st_size, 10_006, 3, 0) == (
        written.zip_bytes, written.unpacked_bytes, written.files, written.compiled,
    )  # fmt: skip


@pytest.mark.parametrize("limit", ["MAX_PACKED", "MAX_UNPACKED"])
def test_what_the_platform_would_refuse_is_not_written(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how large it is and what is allowed."""
    monkeypatch.setattr(archive, limit, 100)

    with pytest.raises(archive.TooLarge, match="takes 100"):
        archive.write(tmp_path / "f.zip", FILES)
    assert [] == list(tmp_path.iterdir())


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files and the bytecode that the platform would find beside them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def printed(folder: Path) -> str:
    """What importing ``a.x`` prints."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); import a.x"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


MODULES = {"a/__init__.py": b"", "a/x.py": b"print('packed')", "a/data.json": b"{}"}


def test_each_module_gets_its_bytecode() -> None:
    """Where the import system looks for it; other files have none."""
    wanted = {importlib.util.cache_from_source(name) for name in MODULES if name.endswith(".py")}

    assert wanted == set(compiled(sys.executable, MODULES, editable=False))


@pytest.mark.parametrize(("editable", "told"), [(True, "edited"), (False, "packed")])
def test_what_is_edited_on_the_platform_counts_where_that_is_meant(
    editable: bool, told: str, tmp_path: Path
) -> None:
    """Its console has an editor for our modules; nobody edits other people's packages there."""
    unpack({**MODULES, **compiled(sys.executable, MODULES, editable=editable)}, tmp_path)
    assert "packed" == printed(tmp_path)
    (tmp_path / "a" / "x.py").write_text("print('edited')")

    assert told == printed(tmp_path)


def test_the_same_modules_make_the_same_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets among the constants too, whose order is another in each process; whatever the shell says."""
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    modules = {"x.py": b"def f(v):\n    return v in {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}\n"}
    one = compiled(sys.executable, modules, editable=True)
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")

    assert one == compiled(sys.executable, modules, editable=True)


def test_a_module_that_cannot_be_compiled_is_named() -> None:
    """Rather than left to be found out at the first call."""
    with pytest.raises(NotCompiled, match=r"broken\.py"):
        compiled(sys.executable, {"broken.py": b"def"}, editable=True)


def test_no_other_python_than_the_runtimes_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever its name says; the runtime would read it in vain."""
    monkeypatch.setenv("PATH", str(tmp_path))
    impostor = tmp_path / "python3.12"
    impostor.write_text("#!/bin/sh\necho cpython-313\n")
    impostor.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(impostor))

    assert compiler() is None
