"""The wheel as it is installed: in empty environments, outside the checkout, with and without its extras.

Danger: in the checkout's own environment every extra is installed, so that a missing one is never noticed.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from handler.cli import app

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
OFFLINE = ("(from versions: none)", "connection broken")

pytestmark = pytest.mark.timeout(300)


@dataclass
class Environment:
    """A virtual environment that holds the wheel with some extras; its programs run in an empty folder."""

    path: Path
    cwd: Path

    def run(self, program: str, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run one of its programs to its end: exit code, standard output, standard error."""
        done = subprocess.run(
            [str(self.path / "bin" / program), *arguments],
            cwd=self.cwd,
            env={"PATH": os.environ["PATH"], "COLUMNS": "200", "NO_COLOR": "1", **settings},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def command(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Run ``snapshot-backup``."""
        return self.run("snapshot-backup", *arguments, **settings)


def pip(*arguments: str) -> None:
    """Run pip; a registry that is out of reach skips the test, but not where changes are judged."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    command = [sys.executable, "-m", "pip", *arguments, *quiet]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    offline = [line for line in done.stderr.splitlines() if any(sign in line for sign in OFFLINE)]
    if offline and os.environ.get("CI") != "true":
        pytest.skip(f"packages are out of reach: {offline[0]}")
    pytest.fail(f"pip {arguments[0]}: {done.stderr}")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources: a build leaves folders behind."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("events", "handler", "infra"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(copy))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock file, as pip's constraints: without hashes, since the wheel has none there."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("locked") / "constraints.txt"
    path.write_text("\n".join(re.findall(r"^[\w.-]+==\S+(?: *;[^\\\n]*)?", text, re.MULTILINE)))
    return path


def install(wheel: Path, locked: Path, extras: str, folder: Path) -> Environment:
    """Make an environment with the wheel and its extras, and an empty folder beside it."""
    environment = Environment(folder / "environment", folder / "cwd")
    environment.cwd.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment.path)], check=True)
    python = str(environment.path / "bin" / "python")
    requirement = f"{wheel}[{extras}]" if extras else str(wheel)
    pip("--python", python, "install", "--no-compile", "--constraint", str(locked), requirement)
    return environment


@pytest.fixture(scope="module")
def core(wheel: Path, locked: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel without an extra."""
    return install(wheel, locked, "", tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module", params=["cli", "cli,fast"])
def installed(
    wheel: Path, locked: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Environment:
    """The wheel with a command line, and as the README installs it."""
    return install(wheel, locked, request.param, tmp_path_factory.mktemp("installed"))


def commands(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands, as arguments."""
    yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *names, name)


def test_what_runs_is_the_installed_wheel(core: Environment) -> None:
    """Neither the checkout nor its environment is on the path."""
    _, out, _ = core.run("python", "-c", "import handler; print(handler.__file__)")

    assert Path(out).is_relative_to(core.path)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("worker",), ("emulator", "--help")], ids=repr)
def test_without_the_command_line_one_line_says_what_to_install(
    core: Environment, arguments: tuple[str, ...]
) -> None:
    """The console command is installed without the extra too."""
    code, out, error = core.command(*arguments)

    assert (2, "") == (code, out)
    assert re.fullmatch(r"snapshot-backup: .*pip install 'snapshot-backup\[cli\]'\n", error)


def test_the_emulator_on_its_own_says_what_to_install(core: Environment) -> None:
    """``python -m infra.emulator`` is another way to the same program."""
    code, _, error = core.run("python", "-m", "infra.emulator", "--help")

    assert 2 == code
    assert re.fullmatch(r"emulator: .*pip install 'snapshot-backup\[cli\]'\n", error)


def test_the_help_lists_every_command(installed: Environment) -> None:
    """The emulator too, whose extra is not installed."""
    code, out, error = installed.command("--help")

    assert (0, "") == (code, error)
    for name in (*get_command(app).commands, "emulator"):  # type: ignore[attr-defined] # a group
        assert re.search(rf"^\W*{name} +[A-Z]", out, re.MULTILINE), name
    assert "Serve a local stand-in of the backup API" in out


def test_each_command_has_its_help(installed: Environment) -> None:
    """No command needs another extra to say what it does."""
    every = [*commands(get_command(app)), ("emulator",)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        told = list(threads.map(lambda names: installed.command(*names, "--help"), every))

    assert len(every) > 15
    for names, (code, out, error) in zip(every, told, strict=True):
        assert (0, "") == (code, error), (names, error)
        assert " ".join(("Usage: snapshot-backup", *names)) in out


def test_a_command_whose_extra_is_missing_names_it(installed: Environment) -> None:
    """One line, no traceback."""
    code, out, error = installed.command("emulator", "--port", "0")

    assert (2, "") == (code, out)
    assert re.fullmatch(r"the package \w+ is not installed; .*'snapshot-backup\[emulator\]'\n", error)


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
def test_a_worker_with_wrong_settings_ends_with_one_line(
    installed: Environment, settings: dict[str, str], named: str
) -> None:
    """It names the variable, or the extra that the setting needs."""
    endpoint = {"VBS_ENDPOINT": "http://127.0.0.1:1"} if settings else {}
    code, out, error = installed.command("worker", **endpoint, **settings)

    assert (2, "", 1) == (code, out, len(error.splitlines())), error
    assert named in error
