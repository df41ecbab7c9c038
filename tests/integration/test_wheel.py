"""The wheel as installed: in empty environments, outside the checkout, with and without its extras.

Danger: the checkout's own environment has every extra, so that a missing one would go unnoticed there.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from uv import find_uv_bin

from handler.cli import app
from handler.function.bundle.sources import sources

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
OFFLINE = ("(from versions: none)", "connection broken")
NOBODY = {"AMQP_URL": "amqp://127.0.0.1:1", "VBS_ENDPOINT": "http://127.0.0.1:1"}

COMBINATIONS = ("", "cli", "cli,fast", "cli,fast,postgres", "cli,emulator", "all")
"""Extras that the documents install together."""
WITH_COMMANDS = COMBINATIONS[1:]
HAVE_EMULATOR = ("cli,emulator", "all")
HAVE_CONSOLE = ("all",)
HAVE_POSTGRES = ("cli,fast,postgres", "all")

NEIGHBOUR = "opensearch-py>=2.8,<3"
"""It needs the distribution Events, which owns the import name ``events``."""

# Builds in the current folder: the first argument is build_sdist or build_wheel, the second the target.
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"

# Prints the help of all commands in one process, which is quick: [[names, exit code, output]].
ALL_HELP = """
import json, sys
from snapshot_backup.__main__ import folder
sys.path.insert(0, str(folder()))
from typer.main import get_command
from typer.testing import CliRunner
from handler.cli import app
def commands(command, *names):
    yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)
every = [*commands(get_command(app)), ("emulator",)]
done = [(names, CliRunner().invoke(app, [*names, "--help"], prog_name="snapshot-backup")) for names in every]
print(json.dumps([[names, result.exit_code, result.output] for names, result in done]))
"""

SOURCES = """
import hashlib, json, sys
from snapshot_backup.__main__ import folder
sys.path.insert(0, str(folder()))
from handler.function.bundle.sources import sources
from handler.function.bundle.wheels import EXTRAS, lock_file
files = {name: hashlib.sha256(content).hexdigest() for name, content in sources().items()}
print(json.dumps([files, all(lock_file(frozenset(extras)).is_file() for extras in ((), EXTRAS))]))
"""

pytestmark = pytest.mark.timeout(600)


@dataclass
class Environment:
    """A virtual environment that holds the wheel with some extras; its programs run in an empty folder."""

    path: Path
    cwd: Path

    @classmethod
    def made(cls, folder: Path) -> "Environment":
        """Create an empty environment."""
        environment = cls(folder / "environment", folder / "cwd")
        environment.cwd.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment.path)], check=True)
        return environment

    def pip(self, command: str, *arguments: str) -> None:
        """Run this test's pip on the environment, which has no pip."""
        pip("--python", str(self.path / "bin" / "python"), command, *arguments)

    def install(self, *requirements: str, locked: Path) -> None:
        """Install the versions of the lock file with uv, or with pip if uv fails."""
        python = str(self.path / "bin" / "python")
        quick = [find_uv_bin(), "pip", "install", "--quiet", "--python", python]
        done = subprocess.run(
            [*quick, "--constraint", str(locked), *requirements], capture_output=True, check=False
        )
        if done.returncode:
            self.pip("install", "--no-compile", "--constraint", str(locked), *requirements)

    def run(self, program: str, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run a program to its end, and return exit code, standard output and standard error."""
        with self.started(program, *arguments, **settings) as process:
            out, error = process.communicate(timeout=SECONDS)
        return process.returncode, out, error

    @contextmanager
    def started(self, program: str, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[str]"]:
        """Start a program, and kill it at the end of the block."""
        with subprocess.Popen(
            [str(self.path / "bin" / program), *arguments],
            cwd=self.cwd,
            env={"PATH": os.environ["PATH"], "COLUMNS": "200", "NO_COLOR": "1", **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def command(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run ``snapshot-backup``."""
        return self.run("snapshot-backup", *arguments, **settings)

    def python(self, code: str) -> str:
        """Run code that must not fail, and return its output."""
        code_, out, error = self.run("python", "-c", code)
        assert 0 == code_, error
        return out.strip()


def pip(*arguments: str) -> None:
    """Run pip; if the registry cannot be reached, skip the test, except in CI."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    command = [sys.executable, "-m", "pip", *arguments, *quiet]
    # With PYTHONPATH, pip would find the checkout's metadata and assume that the project is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    offline = [line for line in done.stderr.splitlines() if any(sign in line for sign in OFFLINE)]
    if offline and os.environ.get("CI") != "true":
        pytest.skip(f"packages are out of reach: {offline[0]}")
    pytest.fail(f"pip {arguments}: {done.stderr}")


@dataclass(frozen=True)
class Built:
    """The built files: a source distribution, a wheel of the checkout, and a wheel of the former."""

    sdist: Path
    wheel: Path
    wheel_of_sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build all three files from a copy of the checkout, since a build leaves folders behind."""
    folder = tmp_path_factory.mktemp("built")
    builder = Environment.made(tmp_path_factory.mktemp("builder"))
    builder.pip("install", "--no-compile", "setuptools>=77")

    def build(what: str, where: Path, out: Path) -> Path:
        builder.cwd = where
        code, _, error = builder.run("python", "-c", BUILD, what, str(out))
        assert 0 == code, error
        [file] = out.iterdir()
        return file

    copy = shutil.copytree(ROOT, folder / "copy", ignore=_unversioned)
    sdist = build("build_sdist", copy, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        archive.extractall(folder / "unpacked")
    [unpacked] = (folder / "unpacked").iterdir()
    wheel = build("build_wheel", copy, folder / "wheel")
    return Built(sdist, wheel, build("build_wheel", unpacked, folder / "wheel_of_sdist"))


def _unversioned(folder: str, names: list[str]) -> Iterable[str]:
    top = Path(folder) == ROOT
    made = ("build", "dist", "snapshot_backup.egg-info") if top else ("__pycache__",)
    return [name for name in names if name in made or (top and name.startswith("."))]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the lock file's versions as pip's constraints, without hashes: it has none for the wheel."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("locked") / "constraints.txt"
    path.write_text("\n".join(re.findall(r"^[\w.-]+==\S+(?: *;[^\\\n]*)?", text, re.MULTILINE)))
    return path


@pytest.fixture(scope="module")
def with_extras(
    built: Built, locked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """Return a function that returns the environment with these extras; each is created once."""

    @functools.cache
    def made(extras: str) -> Environment:
        environment = Environment.made(tmp_path_factory.mktemp("installed"))
        environment.install(f"{built.wheel}[{extras}]" if extras else str(built.wheel), locked=locked)
        return environment

    return made


@pytest.fixture(scope="module")
def core(with_extras: Callable[[str], Environment]) -> Environment:
    """Return the environment with the wheel and no extra."""
    return with_extras("")


@pytest.fixture(scope="module", params=WITH_COMMANDS)
def extras(request: pytest.FixtureRequest) -> str:
    """Return each combination of extras that has a command line."""
    return str(request.param)


@pytest.fixture(scope="module")
def installed(extras: str, with_extras: Callable[[str], Environment]) -> Environment:
    """Return the environment with the wheel and these extras."""
    return with_extras(extras)


def commands(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield each command and group of commands, as arguments."""
    yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)


def contents(wheel: Path) -> Mapping[str, str]:
    """Return each file of the wheel with its hash."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_the_wheel_installs_one_import_name(built: Built) -> None:
    """The wheel installs ``snapshot_backup`` and its metadata, and no other name."""
    tops = {name.partition("/")[0] for name in contents(built.wheel)}

    assert {"snapshot_backup", "snapshot_backup-0.1.0.dist-info"} == tops


def test_the_wheel_has_every_module_and_no_stray_file(built: Built) -> None:
    """The wheel has all modules of events, handler and emulator, and no data files but theirs."""
    names = {name.removeprefix("snapshot_backup/app/") for name in contents(built.wheel)}
    modules = {
        str(path.relative_to(ROOT))
        for top in ("events", "handler", "infra/emulator")
        for path in (ROOT / top).rglob("*.py")
    }
    data = {name for name in names if not name.endswith(".py") and not name.startswith("snapshot_backup")}

    assert modules <= names
    assert data == {
        str(path.relative_to(ROOT))
        for top in ("events", "handler")
        for path in (ROOT / top).rglob("*.*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".md", ".typed")
    }
    assert "snapshot_backup-0.1.0.dist-info/licenses/LICENSE" in names


def test_the_wheel_of_the_source_distribution_is_the_same(built: Built) -> None:
    """A wheel built from the source distribution has the same files as one built from the checkout."""
    assert contents(built.wheel) == contents(built.wheel_of_sdist)


def test_the_source_distribution_has_all_that_is_versioned(built: Built) -> None:
    """The source distribution has all files of the program, its tests, deployment and documents."""
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("events", "handler", "infra", "tests")
    versioned = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert versioned <= names
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "requirements.lock"} <= names


def test_what_runs_is_the_installed_wheel(core: Environment) -> None:
    """The installed wheel runs from its own environment, and leaves our folders' import names free."""
    assert Path(core.python("from snapshot_backup.__main__ import folder; print(folder())")).is_relative_to(
        core.path
    )
    free = "from importlib.util import find_spec as f; print(f('events'), f('handler'), f('infra'))"
    assert "None None None" == core.python(free)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("worker",), ("emulator", "--help")], ids=repr)
def test_without_the_command_line_one_line_says_what_to_install(
    core: Environment, arguments: tuple[str, ...]
) -> None:
    """Without the extra ``cli``, the console command prints how to install it, and exits with 2."""
    code, out, error = core.command(*arguments)

    assert (2, "") == (code, out)
    assert re.fullmatch(r"snapshot-backup: .*pip install 'snapshot-backup\[cli\]'\n", error)


def test_the_package_runs_as_a_module(core: Environment) -> None:
    """``python -m snapshot_backup`` prints the same help as the console command."""
    assert core.command("--help") == core.run("python", "-m", "snapshot_backup", "--help")


def test_an_installed_function_bundle_has_the_same_sources(core: Environment) -> None:
    """An installed ``package`` reads the same sources as one of the checkout, and finds its lock files."""
    files, locked = json.loads(core.python(SOURCES))

    assert {name: sha256(content).hexdigest() for name, content in sources().items()} == files
    assert locked


def test_the_help_lists_every_command(installed: Environment) -> None:
    """The help lists all commands, and the emulator even if its extra is missing."""
    code, out, error = installed.command("--help")

    assert (0, "") == (code, error)
    for name in (*get_command(app).commands, "emulator"):  # type: ignore[attr-defined] # a group
        assert re.search(rf"^\W*{name} +[A-Z]", out, re.MULTILINE), name
    assert "Serve a local stand-in of the backup API" in out


def test_each_command_has_its_help(installed: Environment) -> None:
    """Each command prints its help, whichever extras are installed."""
    printed = json.loads(installed.python(ALL_HELP))

    assert [[*names] for names in (*commands(get_command(app)), ("emulator",))] == [row[0] for row in printed]
    for names, code, out in printed:
        assert 0 == code, out
        assert " ".join(("Usage: snapshot-backup", *names)) in out


def test_the_version_is_printed(installed: Environment) -> None:
    """``--version`` prints one line with name and version."""
    assert (0, "snapshot-backup 0.1.0\n", "") == installed.command("--version")


def test_the_schemas_are_written(with_extras: Callable[[str], Environment], tmp_path: Path) -> None:
    """``schemas`` of an installed wheel writes the same AsyncAPI document as the checkout's."""
    code, _, error = with_extras("cli").command("schemas", "--out", str(tmp_path))

    assert 0 == code, error
    assert (tmp_path / "asyncapi.json").read_bytes() == (ROOT / "events/schema/asyncapi.json").read_bytes()


def test_the_doctor_finds_closed_ports(installed: Environment) -> None:
    """The doctor prints a remedy for both settings and no traceback, and exits with 1."""
    code, out, error = installed.command("doctor", **NOBODY)

    assert (1, "") == (code, error)
    assert re.search(r"AMQP_URL: check host and port", out)
    assert re.search(r"VBS_ENDPOINT: check host and port", out)


def test_a_worker_tries_again_while_the_broker_is_down(installed: Environment) -> None:
    """The worker logs the refused connection, and exits with 0 after SIGTERM."""
    with installed.started("snapshot-backup", "worker", **NOBODY) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "broker.lost" in line)
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=SECONDS)

    assert "Connection refused" in first
    assert (0, "") == (process.returncode, out)
    assert "Traceback" not in rest


def test_the_emulator_runs_or_names_its_extra(installed: Environment, extras: str) -> None:
    """The emulator starts, or prints one line with the missing extra."""
    with installed.started("snapshot-backup", "emulator", "--port", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=SECONDS)

    if extras in HAVE_EMULATOR:
        assert line.startswith("listening on http://127.0.0.1:")
    else:
        assert (2, "") == (process.returncode, line)
        assert re.fullmatch(r"the package \w+ is not installed; .*'snapshot-backup\[emulator\]'\n", error)


def test_the_console_runs_or_names_its_extra(installed: Environment, extras: str) -> None:
    """The console starts with its templates and static files, or prints one line with the missing extra."""
    with installed.started("snapshot-backup", "console", CONSOLE_ADDRESS="127.0.0.1:0", **NOBODY) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        if extras in HAVE_CONSOLE:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)

    if extras in HAVE_CONSOLE:
        assert '"action": "console.listening"' in line
    else:
        assert 2 == process.returncode
        assert re.fullmatch(r"the package \w+ is not installed; .*'snapshot-backup\[console\]'\n", line)


def test_a_postgres_ledger_needs_its_extra(installed: Environment, extras: str) -> None:
    """If the extra ``postgres`` is missing, the error names it; otherwise the error is about the database."""
    ledger = "postgresql://127.0.0.1:1/ledger"
    code, out, error = installed.command("ledger", "prune", "--dry-run", LEDGER_URL=ledger, **NOBODY)

    assert code in (1, 2)
    assert "" == out
    assert "Traceback" not in error
    assert ("snapshot-backup[postgres]" in error) == (extras not in HAVE_POSTGRES), error


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "VBS_ENDPOINT"),
        ({"CONCURRENCY": "many"}, "CONCURRENCY"),
        ({"LEDGER_URL": "postgresql://127.0.0.1/ledger"}, "snapshot-backup[postgres]"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "snapshot-backup[tracing]"),
    ],
    ids=["none", "not a number", "without the driver", "without the tracing library"],
)
@pytest.mark.parametrize("which", ["cli", "cli,fast"])
def test_a_worker_with_wrong_settings_ends_with_one_line(
    with_extras: Callable[[str], Environment], which: str, settings: dict[str, str], named: str
) -> None:
    """The worker prints one line that names the variable or the missing extra, and exits with 2."""
    endpoint = {"VBS_ENDPOINT": "http://127.0.0.1:1"} if settings else {}
    code, out, error = with_extras(which).command("worker", **endpoint, **settings)

    assert (2, "", 1) == (code, out, len(error.splitlines())), error
    assert named in error


def test_the_source_distribution_installs(
    built: Built, locked: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The source distribution can be installed, and the command prints its version."""
    environment = Environment.made(tmp_path_factory.mktemp("of_sdist"))
    environment.install(f"{built.sdist}[cli]", locked=locked)

    assert (0, "snapshot-backup 0.1.0\n", "") == environment.command("--version")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_neighbour_that_owns_the_name_events_is_left_alone(
    built: Built, locked: Path, tmp_path_factory: pytest.TempPathFactory, first: str
) -> None:
    """Both programs work, whichever is installed first, and each still works after the other is removed."""
    environment = Environment.made(tmp_path_factory.mktemp("neighbours"))
    wanted = [f"{built.wheel}[cli]", NEIGHBOUR]
    for requirement in wanted if first == "ours" else reversed(wanted):
        environment.install(requirement, locked=locked)
    theirs = "import events, opensearchpy; print(events.Events.__name__)"

    assert "Events" == environment.python(theirs)
    assert 1 == environment.command("doctor", **NOBODY)[0]
    if first == "ours":
        environment.pip("uninstall", "--yes", "snapshot-backup")
        assert "Events" == environment.python(theirs)
        assert not (environment.path / "bin" / "snapshot-backup").exists()
    else:
        environment.pip("uninstall", "--yes", "opensearch-py", "Events")
        assert 1 == environment.command("doctor", **NOBODY)[0]
