"""The first hour of a new user: the README's commands, word by word, against real services.

What stands for the reader's own (hosts, accounts) is replaced by the broker and an emulator of the API; all
else is run as it is written. What the README shows of their output is what they print.
"""

import functools
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pika
import pytest
from uv import find_uv_bin

from infra.emulator.testing import running_emulator
from infra.local.broker import Broker
from infra.local.ready import wait_until
from tests.documents import blocks

pytestmark = [pytest.mark.broker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 240.0
OFFLINE = re.compile(
    r"from versions: none|connection broken|error sending request|No package index", re.IGNORECASE
)
PLACEHOLDER = re.compile(r"(\w+)=(\S+)")


UP, INSTALL, RUN, PACKAGE = blocks(README, "sh")
[SHOWN] = [block for block in blocks(README, "") if block.startswith("broker: ")]
[EVENT] = blocks(README, "json")
[WHEEL] = re.findall(r"`(python3 -m pip wheel [^`]+)`", README)
[FROM_WHEEL] = re.findall(r'`(uv tool install "dist/[^`]+)`', README)
[READY] = re.findall(r"The worker is ready when it logs `([^`]+)`", README)


def test_the_readme_has_the_commands_that_are_walked() -> None:
    """The blocks are those of trying, installing, running and packaging."""
    assert "infra/up" == UP.strip()
    assert ["topology declare --outcomes-queue outcomes", "doctor", "worker"] == re.findall(
        r"^snapshot-backup ([a-z -]+?)(?: +#.*)?$", RUN, re.MULTILINE
    )
    assert PACKAGE.startswith("snapshot-backup package --out function.zip")


NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Home:
    """A new user's home with a checkout in it; uv and pip have the caches of this machine."""

    path: Path

    @property
    def checkout(self) -> Path:
        """The folder of the checkout."""
        return self.path / "checkout"

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the user's shell: no Python of ours, uv on the PATH."""
        kept = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        paths = [self.path / ".local/bin", os.environ["PATH"]]
        caches = {"UV_CACHE_DIR": _uv_cache(), "PIP_CACHE_DIR": str(Path.home() / ".cache/pip")}
        places = {"UV_TOOL_DIR": str(self.path / "tools"), "UV_TOOL_BIN_DIR": str(self.path / ".local/bin")}
        return {
            **kept,
            **caches,
            **places,
            "HOME": str(self.path),
            "PATH": os.pathsep.join(map(str, paths)),
            "COLUMNS": "200",
            "PIP_NO_COMPILE": "1",  # compiling all packages takes longer than installing them
            **settings,
        }

    def shell(self, line: str, settings: Mapping[str, str] = NONE, *, folder: Path | None = None) -> str:
        """Run a line as the user types it, and return its output; offline, skip the test, except in CI."""
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=folder or self.checkout,
            env=self.environment(settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode and OFFLINE.search(done.stderr) and os.environ.get("CI") != "true":
            pytest.skip(f"packages are out of reach: {done.stderr.splitlines()[-1]}")
        assert 0 == done.returncode, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def started(
        self, line: str, settings: Mapping[str, str], *, output: TextIO | int = subprocess.PIPE
    ) -> Iterator["subprocess.Popen[str]"]:
        """Start a program as the user types it, and kill it at the end of the block."""
        with subprocess.Popen(
            ["bash", "-ec", f"exec {line}"],
            cwd=self.checkout,
            env=self.environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def _uv_cache() -> str:
    return subprocess.run(
        [find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Create a home with a copy of the checkout, and uv as a command."""
    home = Home(tmp_path_factory.mktemp("home"))
    shutil.copytree(ROOT, home.checkout, ignore=_unversioned)
    commands = home.path / ".local/bin"
    commands.mkdir(parents=True)
    (commands / "uv").symlink_to(find_uv_bin())
    (commands / "python3").symlink_to(sys.executable)
    return home


def _unversioned(folder: str, names: list[str]) -> list[str]:
    top = Path(folder) == ROOT
    made = ("build", "dist", "snapshot_backup.egg-info") if top else ("__pycache__",)
    return [name for name in names if name in made or (top and name.startswith("."))]


@dataclass(frozen=True)
class Tried:
    """What ``infra/up`` printed, what its lines for another shell did, and its exit code."""

    lines: list[str]
    hinted: str
    code: int


def unique_names() -> Mapping[str, str]:
    """Return settings with names that nothing else uses, since the broker is shared."""
    unique = f"t-{secrets.token_hex(6)}"
    return {"SNAPSHOT_QUEUE": unique, "SNAPSHOT_EXCHANGE": f"{unique}.in", "RESULT_EXCHANGE": f"{unique}.out"}


@pytest.fixture(scope="module")
def names() -> Mapping[str, str]:
    """Return the names of the worker's queues and exchanges."""
    return unique_names()


@pytest.fixture(scope="module")
def trying(home: Home, broker: Broker) -> Iterator[Callable[[], Tried]]:
    """Start ``infra/up``, which goes on beside the other tests; return a function that ends it by Ctrl-C."""
    own, output = unique_names(), home.path / "up.txt"
    with (
        output.open("w") as file,
        home.started(UP, {**own, "AMQP_URL": broker.url}, output=file) as process,
    ):

        @functools.cache
        def tried() -> Tried:
            assert wait_until(lambda: output.read_text().endswith(" list\n\n"), seconds=SECONDS)
            before, _, hints = output.read_text().partition("From another shell")
            hinted = home.shell(hints.partition("\n")[2], own)
            process.send_signal(signal.SIGINT)
            return Tried(before.splitlines(), hinted, process.wait(SECONDS))

        yield tried


VARYING = re.compile(r"(?P<number>\d+\.[\d.]+)|(?P<id>\b[0-9a-f]{8}\b)|(?P<kind>\(process\))|(?P<cut>…)")
"""What differs from run to run: seconds and versions, ids, the kind of broker, and what a terminal cuts."""
ANY = {"number": r"[\d.]+", "id": "[0-9a-f]{8}", "kind": r"\(\w+\)", "cut": ".*"}


def pattern(line: str) -> "re.Pattern[str]":
    """Return a line that the README shows as a pattern."""
    text, end = "", 0
    for found in VARYING.finditer(line):
        text += re.escape(line[end : found.start()]) + ANY[found.lastgroup or ""]
        end = found.end()
    return re.compile(text + re.escape(line[end:]))


@pytest.fixture(scope="module")
def installed(home: Home, trying: object) -> Home:
    """Install as the README's first line says, while ``infra/up`` runs."""
    first, _ = INSTALL.splitlines()
    home.shell(first)
    return home


def test_the_first_way_to_install_makes_the_command(installed: Home) -> None:
    """After the README's first line, ``snapshot-backup`` is a command of the user."""
    assert "snapshot-backup 0.1.0\n" == installed.shell("snapshot-backup --version", folder=installed.path)


def test_the_second_way_to_install_makes_an_environment(home: Home) -> None:
    """After the README's second line, the command is in ``venv``."""
    _, second = INSTALL.splitlines()
    home.shell(second)

    assert "snapshot-backup 0.1.0\n" == home.shell(
        "checkout/venv/bin/snapshot-backup --version", folder=home.path
    )


def test_a_wheel_can_be_installed_elsewhere(installed: Home) -> None:
    """The wheel that the README builds is installed by its next command."""
    installed.shell(WHEEL)
    [wheel] = (installed.checkout / "dist").iterdir()
    other = {
        "UV_TOOL_DIR": str(installed.path / "other"),
        "UV_TOOL_BIN_DIR": str(installed.path / "other-bin"),
    }
    installed.shell(FROM_WHEEL.replace("NAME.whl", wheel.name), other)

    assert "snapshot-backup 0.1.0\n" == installed.shell(
        "other-bin/snapshot-backup --version", folder=installed.path
    )


@pytest.fixture
def outcomes(broker: Broker, names: Mapping[str, str]) -> Iterator[Callable[[], list[str]]]:
    """Bind a queue to the exchange of outcomes, as the README asks, and return the types that came."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        exchange = names["RESULT_EXCHANGE"]
        channel.exchange_declare(exchange, "topic", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange, "#")
        types: list[str] = []

        def come() -> list[str]:
            while True:
                method, _, _ = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return types
                types.append(method.routing_key)

        yield come


def test_the_commands_to_run_a_worker_make_the_first_backup(
    installed: Home, broker: Broker, names: Mapping[str, str], outcomes: Callable[[], list[str]]
) -> None:
    """With an own broker and account in their places, the README's lines end in a completed backup."""
    with running_emulator(settle=0.1, auth="token") as emulator:
        own = {
            "AMQP_URL": broker.url,
            "VBS_ENDPOINT": emulator.url,
            "OS_AUTH_URL": f"{emulator.url}/v3",
            "OS_USERNAME": "demo",
            "OS_PASSWORD": "secret",
            "OS_PROJECT_ID": json.loads(EVENT)["data"]["project_id"],
        }
        without_comments = re.sub(r" +#.*", "", RUN)
        lines = PLACEHOLDER.sub(lambda found: f"{found[1]}={own[found[1]]}", without_comments).splitlines()
        *before, worker = (
            line.replace("queue outcomes", f"queue {names['SNAPSHOT_QUEUE']}.outcomes") for line in lines
        )
        quick = {**names, "WAIT_LADDER": "1", "LOG_FORMAT": "text"}
        shown = installed.shell("\n".join(before), quick)

        assert re.search(rf"^yes +queue +{re.escape(names['SNAPSHOT_QUEUE'])}$", shown, re.MULTILINE), shown
        assert re.search(r"^\d+ ok, \d+ warning, 0 bad$", shown, re.MULTILINE), shown
        exports = "\n".join(line for line in before if line.startswith("export"))
        with installed.started(
            f"env {exports.replace('export ', '').replace(chr(10), ' ')} {worker}", quick
        ) as running:
            assert running.stdout is not None
            ready = READY.replace("snapshot-backup", names["SNAPSHOT_QUEUE"])
            log = list(itertools.takewhile(lambda line: ready not in line, running.stdout))
            event = json.dumps(json.loads(EVENT))
            told = installed.shell(f"{exports}\nsnapshot-backup publish --file - <<<'{event}'", quick)
            assert wait_until(lambda: len(outcomes()) == 2, seconds=SECONDS), outcomes()
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=SECONDS)

    assert "published 1 event" in told
    assert ["backup.accepted", "backup.completed"] == outcomes()
    assert not any("warning" in line for line in log), log
    assert 0 == running.returncode


def test_infra_up_prints_what_the_readme_shows(trying: Callable[[], Tried]) -> None:
    """Each line that the README shows of ``infra/up`` is printed, but for times and ids."""
    tried = trying()
    missing = [
        line
        for line in SHOWN.splitlines()
        if not any(pattern(line.strip()).fullmatch(printed.strip()) for printed in tried.lines)
    ]
    assert [] == missing, "\n".join(tried.lines)


def test_the_lines_for_another_shell_work(trying: Callable[[], Tried]) -> None:
    """What ``infra/up`` prints to be copied publishes an event, and shows backups and dead letters."""
    hinted = trying().hinted

    assert "published 1 event to" in hinted
    assert '[{"id":' in hinted
    assert ".dead: 15 dead letters" in hinted


def test_ctrl_c_ends_infra_up_with_success(trying: Callable[[], Tried]) -> None:
    """After Ctrl-C a good run exits with 0."""
    assert 0 == trying().code
