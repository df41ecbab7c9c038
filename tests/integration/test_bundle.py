"""The function bundle as deployed: built with pip, unpacked into an empty folder, run by Python 3.12."""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from handler.cli import app
from handler.function.bundle.bytecode import TAG
from handler.function.bundle.wheels import WheelsMissing, wheels
from infra.emulator.testing import Emulator, running_emulator
from tests.integration.function_world import World, batch, counts, event, function_world

CONTEXT = Path(__file__).parents[1] / "twins" / "context.py"
ADDED = Path(__file__).parents[1] / "data" / "events" / "data.json"
LIMIT = 40 * 1024 * 1024

# Flags of a bytecode file with the hash of its source: Python compares the hash with the source, or does not.
CHECKED, UNCHECKED = (flags.to_bytes(4, "little") for flags in (0b11, 0b01))

# Runs in a process that has only the bundle; standard input holds the user data and the event.
CALL = """
import json, runpy, sys
bundle, context = sys.argv[1:]
sys.path.insert(0, bundle)
user_data, event = json.load(sys.stdin)
context = runpy.run_path(context)["FakeContext"](user_data)
import index
index.initializer(context)
summary = index.handler(event, context)
outside = [m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)]
print(json.dumps([summary, [f for f in outside if "site-packages" in f or "dist-packages" in f]]))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle that the command writes on a machine with the runtime's Python."""
    path = tmp_path_factory.mktemp("bundle") / "function.zip"
    done = package("--out", str(path), "--add", str(ADDED), "--json")
    if done.exit_code:
        pytest.skip(f"no bundle: {done.stderr}")
    told = json.loads(done.stdout)
    assert path.stat().st_size == told["zip_bytes"] < LIMIT
    return path


def package(*options: str) -> Result:
    """Run ``package`` with Python 3.12 on the path, if this machine has one."""
    found = runtime()
    path = os.pathsep.join(filter(None, [found and str(Path(found).parent), os.environ["PATH"]]))
    return CliRunner().invoke(app, ["package", *options], env={"PATH": path})


@pytest.fixture(scope="module")
def names(bundle: Path) -> list[str]:
    """Return the names of the files in the bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return archive.namelist()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an API."""
    with running_emulator(race=0) as emulator:
        yield emulator


@pytest.fixture
def world(amqp_url: str, unique: str, emulator: Emulator) -> Iterator[World]:
    """Yield the surroundings of a function call."""
    with function_world(amqp_url.partition(",")[0], unique, emulator) as world:
        yield world


def test_a_second_build_has_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    """A second build has the same bytes, so that a deployment changes only if its sources change."""
    again = tmp_path / "again.zip"
    package("--out", str(again), "--add", str(ADDED))

    assert bundle.read_bytes() == again.read_bytes()


def test_the_bundle_holds_the_function_and_its_packages_only(names: list[str]) -> None:
    """The bundle has the function and the packages it needs, but no command line and no tests."""
    tops = {name.partition("/")[0].partition("-")[0] for name in names}

    assert {"index.py", "events", "handler", "httpx", "pika", "pydantic", "pydantic_core"} <= tops
    assert set() == tops & {"bin", "httptools", "infra", "psycopg", "rich", "tests", "typer"}
    assert [] == [name for name in names if "/tests/" in name]


def test_the_machine_code_is_for_the_runtime(names: list[str]) -> None:
    """All compiled modules are for Python 3.12 on x86-64 Linux, on whichever machine the bundle is built."""
    compiled = [name for name in names if name.endswith((".so", ".pyd", ".dylib"))]

    assert compiled
    assert [] == [name for name in compiled if not name.endswith(".cpython-312-x86_64-linux-gnu.so")]


def test_every_module_has_the_bytecode_of_the_runtime(bundle: Path, names: list[str]) -> None:
    """Each module has bytecode, so that no instance compiles it; only ours is checked against its source."""
    python_of_the_runtime()
    with zipfile.ZipFile(bundle) as archive:
        kinds = {name: archive.read(name)[4:8] for name in names if name.endswith(".pyc")}
    modules = {name for name in names if name.endswith(".py")}
    ours = {name for name in kinds if name.startswith(("__pycache__/index.", "events/", "handler/"))}

    assert modules == {source_of(name) for name in kinds}
    assert {CHECKED} == {kinds[name] for name in ours}
    assert {UNCHECKED} == {kinds[name] for name in kinds.keys() - ours}


def source_of(bytecode: str) -> str:
    """Return the source of a bytecode file: ``a/__pycache__/b.cpython-312.pyc`` → ``a/b.py``."""
    folder, _, file = bytecode.rpartition("__pycache__/")
    name, tag, _ = file.split(".")
    assert TAG == tag
    return f"{folder}{name}.py"


def test_without_the_runtimes_python_there_is_no_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Python 3.12 is not found, the bundle has no bytecode, and the command says why."""
    monkeypatch.setattr("handler.commands.package.compiler", lambda: None)
    done = package("--out", str(tmp_path / "f.zip"), "--json")
    if done.exit_code:
        pytest.skip(f"no bundle: {done.stderr}")

    assert 0 == json.loads(done.stdout)["compiled"]
    assert "python3.12 is not on the PATH" in done.stderr


def test_a_file_can_be_added(names: list[str]) -> None:
    """``--add`` puts a file into the bundle, such as the certificate that AMQP_CA_FILE names."""
    assert ADDED.name in names


@pytest.mark.parametrize("option", ["--out", "--add"])
def test_a_file_that_cannot_be_read_or_written_is_named(option: str, tmp_path: Path) -> None:
    """If a file cannot be read or written, the error starts with its option, and the exit code is 2."""
    options = {"--out": str(tmp_path / "f.zip")} | {option: str(tmp_path / "none" / "f.zip")}
    done = CliRunner().invoke(app, ["package", *(word for pair in options.items() for word in pair)])

    assert 2 == done.exit_code
    assert done.stderr.startswith(option)


def test_without_a_package_there_is_no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """If pip cannot find a package, the error names the package."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    with pytest.raises(WheelsMissing, match="annotated-types"):
        wheels(frozenset())


@pytest.mark.broker
def test_the_unpacked_bundle_runs_without_other_packages(bundle: Path, world: World, tmp_path: Path) -> None:
    """The unpacked bundle runs on a Python 3.12 without other packages, as on the platform."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    command = [python_of_the_runtime(), "-I", "-S", "-c", CALL, str(tmp_path), str(CONTEXT)]
    done = subprocess.run(
        command,
        input=json.dumps([world.settings, batch(event(), "nonsense")]),
        env={"RUNTIME_TIMEOUT": "40"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert [counts(2, accepted=1, failed=1), []] == json.loads(done.stdout)
    assert 1 == len(world.backups())


def python_of_the_runtime() -> str:
    """Return the path of a Python 3.12 on x86-64 Linux, or skip the test."""
    return runtime() or pytest.skip("no Python 3.12 for x86-64 Linux was found")


def runtime() -> str | None:
    """Return a Python 3.12 on x86-64 Linux, from the path or from pyenv, or None."""
    own = Path.home() / ".pyenv" / "versions"
    found = [shutil.which("python3.12"), *(str(path) for path in sorted(own.glob("3.12*/bin/python3.12")))]
    asked = "import sys, platform; print(sys.platform, platform.machine(), *sys.version_info[:2])"
    for candidate in filter(None, found):
        told = subprocess.run([candidate, "-c", asked], capture_output=True, text=True, check=False).stdout
        if told.split() == ["linux", "x86_64", "3", "12"]:
            return candidate
    return None
