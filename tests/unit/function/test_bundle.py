"""Tests of the function's bundle: its modules and packages, its bytecode, and how the ZIP is written."""

import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.function.bundle import archive, wheels
from handler.function.bundle.bytecode import NotCompiled, compiled, compiler
from handler.function.bundle.sources import sources
from handler.function.bundle.wheels import lock_file

LOCK = Path(__file__).parents[3] / "requirements.lock"
BASE: frozenset[str] = frozenset()
POSTGRES = frozenset({"postgres"})
FILES = {"b/x.py": b"x = 1\n", "index.py": b"", "a.so": bytes(10_000)}


def pins(path: Path) -> set[str]:
    """Return every ``name==version`` of a lock file."""
    return set(re.findall(r"^[\w.-]+==\S+", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("extras", [BASE, POSTGRES], ids=["base", "postgres"])
def test_the_versions_are_those_that_are_tested(extras: frozenset[str]) -> None:
    """Each version in a lock file of the bundle is also in the checkout's ``requirements.lock``."""
    assert set() == pins(lock_file(extras)) - pins(LOCK)


@pytest.mark.parametrize("extras", [BASE, POSTGRES], ids=["base", "postgres"])
def test_every_package_has_hashes_and_no_address(extras: frozenset[str]) -> None:
    """Each package has hashes, with which pip refuses other files, and the lock file has no URL."""
    text = lock_file(extras).read_text(encoding="utf-8")

    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text)[1:])
    assert "://" not in text


def test_postgresql_is_there_only_on_request() -> None:
    """The extra adds only the driver psycopg, which makes up half of the bundle."""
    only = {pin.partition("==")[0] for pin in pins(lock_file(POSTGRES)) - pins(lock_file(BASE))}

    assert {"psycopg", "psycopg-binary"} == only


def test_the_bundle_has_the_modules_that_are_imported_late() -> None:
    """The bundle has the PostgreSQL ledger, which the function imports only if the settings select it."""
    files = sources()

    assert {"index.py", "handler/function/entry.py", "handler/ledger/postgres.py"} <= set(files)
    assert {"handler/__init__.py", "handler/ledger/__init__.py", "events/__init__.py"} <= set(files)


def test_the_bundle_has_no_command_line() -> None:
    """The bundle has no commands, no bundler and no ``infra``: the function does not use them."""
    assert [] == [
        name
        for name in sources()
        if name.startswith(("handler/commands", "handler/function/bundle", "handler/cli", "infra"))
    ]


def test_index_has_the_two_names_that_the_platform_is_given() -> None:
    """``index.py``, at the bundle's root, has both ``handler`` and ``initializer``."""
    space: dict[str, object] = {}
    exec(sources()["index.py"], space)

    assert callable(space["handler"])
    assert callable(space["initializer"])


def test_the_same_files_make_the_same_bytes() -> None:
    """The order of the files does not change the ZIP."""
    assert archive.pack(FILES) == archive.pack(dict(reversed(FILES.items())))


def test_a_written_bundle_can_be_unpacked(tmp_path: Path) -> None:
    """The ZIP contains the files, and the report has its sizes."""
    written = archive.write(tmp_path / "f.zip", FILES)

    with zipfile.ZipFile(tmp_path / "f.zip") as bundle:
        assert {name: bundle.read(name) for name in bundle.namelist()} == FILES
    assert ((tmp_path / "f.zip").stat().st_size, 10_006, 3, 0) == (
        written.zip_bytes, written.unpacked_bytes, written.files, written.compiled,
    )  # fmt: skip


@pytest.mark.parametrize("limit", ["MAX_PACKED", "MAX_UNPACKED"])
def test_a_bundle_over_the_platforms_limit_is_not_written(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle over the platform's limit is an error with that limit, and no file remains."""
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
    """Return what importing ``a.x`` prints."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); import a.x"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


MODULES = {"a/__init__.py": b"", "a/x.py": b"print('packed')", "a/data.json": b"{}"}


def test_each_module_gets_its_bytecode() -> None:
    """The bytecode of each module is where the import system looks for it; other files have none."""
    wanted = {importlib.util.cache_from_source(name) for name in MODULES if name.endswith(".py")}

    assert wanted == set(compiled(sys.executable, MODULES, editable=False))


@pytest.mark.parametrize(("editable", "told"), [(True, "edited"), (False, "packed")])
def test_an_edit_on_the_platform_takes_effect_only_in_editable_modules(
    editable: bool, told: str, tmp_path: Path
) -> None:
    """An editable module that was changed is compiled again; for other packages the bytecode is used."""
    unpack({**MODULES, **compiled(sys.executable, MODULES, editable=editable)}, tmp_path)
    assert "packed" == printed(tmp_path)
    (tmp_path / "a" / "x.py").write_text("print('edited')")

    assert told == printed(tmp_path)


def test_the_same_modules_make_the_same_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode depends neither on the hash seed, which orders sets, nor on the shell's Python variables."""
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    modules = {"x.py": b"def f(v):\n    return v in {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}\n"}
    one = compiled(sys.executable, modules, editable=True)
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")

    assert one == compiled(sys.executable, modules, editable=True)


def test_a_module_that_cannot_be_compiled_is_named() -> None:
    """The error at packing time names the broken module, so it does not fail at the first call."""
    with pytest.raises(NotCompiled, match=r"broken\.py"):
        compiled(sys.executable, {"broken.py": b"def"}, editable=True)


def test_no_other_python_than_the_runtimes_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ``python3.12`` of another version is not used: the runtime would ignore its bytecode."""
    monkeypatch.setenv("PATH", str(tmp_path))
    impostor = tmp_path / "python3.12"
    impostor.write_text("#!/bin/sh\necho cpython-313\n")
    impostor.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(impostor))

    assert compiler() is None


def test_without_a_pip_of_its_own_the_bundle_takes_one_from_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment without pip, as of ``uv tool install``, uses any pip of the PATH."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(wheels.WheelsMissing, match="pip is neither in this environment nor on the PATH"):
        wheels._pip()
    (tmp_path / "pip3").touch(mode=0o755)

    assert (str(tmp_path / "pip3"),) == wheels._pip()
