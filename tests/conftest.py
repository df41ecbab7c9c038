"""Fixtures and options of all tests: one broker, a clean environment, and reproducible random choices."""

import contextlib
import gc
import importlib.metadata
import os
import platform
import random
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from handler import redaction
from infra.local.broker import Broker, running_broker
from infra.local.programs import ensure_programs
from infra.local.ready import BrokerUnavailable
from infra.local.server import RabbitProcess
from tests.scheduling import Scheduling, place_of
from tests.spare_broker import SpareBroker

ROOT = Path(__file__).parent.parent
SHOWN_VERSIONS = ("pika", "httpx", "pydantic")

# Prefixes of the project's settings that may be set in the shell that starts the tests.
OUTSIDE_PREFIXES = (
    "AMQP_", "CONCURRENCY", "CONSOLE_", "DRAIN_", "HTTP_ADDRESS", "HUAWEICLOUD_", "LEASE_", "LEDGER_", "LOG_",
    "MAX_", "OS_", "OTEL_", "QUEUE_", "RESULT_", "SECRETS_", "SKIP_", "SNAPSHOT_", "TRACK_", "VBS_", "WAIT_",
)  # fmt: skip

SEED = pytest.StashKey[int]()
BROKER = pytest.StashKey[Broker | str]()  # a broker, or the reason why there is none

# Read before the environment is cleaned: only pytest uses a given broker, not the programs under test.
GIVEN_URL = os.environ.get("AMQP_URL")

settings.register_profile(
    "project",
    deadline=None,  # a slow machine is not a bug
    print_blob=True,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
)
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options to repeat a run with its seed, and to share one broker among processes."""
    parser.addoption("--seed", type=int, help="seed of every random choice (default: TEST_SEED, or random)")
    parser.addoption(
        "--shared-broker", action="store_true", help="start one broker for all of xdist's processes"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the seed, also for Hypothesis, before its own plugin reads it."""
    chosen = config.getoption("--seed")
    seed = int(os.environ.get("TEST_SEED") or secrets.randbits(32)) if chosen is None else chosen
    config.stash[SEED] = seed
    os.environ["TEST_SEED"] = str(seed)  # for the processes of pytest-xdist, which configure themselves
    # What a shell runs in the background ignores Ctrl-C, and so would the programs under test.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(seed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; every process of pytest-xdist has to find the same order."""
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Run the tests of a file in one process, where pytest-xdist is asked for that."""
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Report the versions of libraries, and the seed that repeats the run."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in SHOWN_VERSIONS]
    return [
        f"versions: Python {platform.python_version()}, {', '.join(versions)}",
        f"seed: {config.stash[SEED]} (repeat with --seed {config.stash[SEED]})",
    ]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the broker that pytest-xdist's processes share, and set ``AMQP_URL`` before they start."""
    config = session.config
    if not config.getoption("--shared-broker") or hasattr(config, "workerinput"):
        return
    broker = _start_broker(config)
    if not isinstance(broker, str):
        os.environ["AMQP_URL"] = broker.url


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the broker if a test needs one, before the first timeout starts: it may have to be installed."""
    if session.config.option.collectonly:
        return
    # Thousands of collected tests live as long as the run: the collector is not to look at them each time.
    gc.collect()
    gc.freeze()
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "own_broker" in wanted:
        with contextlib.suppress(BrokerUnavailable):  # the fixture reports it
            ensure_programs()
    if "broker" in wanted:
        session.config.stash[BROKER] = _start_broker(session.config)


def _start_broker(config: pytest.Config) -> Broker | str:
    resources = contextlib.ExitStack()
    config.add_cleanup(resources.close)
    try:
        return resources.enter_context(running_broker(GIVEN_URL))
    except BrokerUnavailable as error:
        return str(error)


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    """Report which broker the tests use."""
    broker = config.stash.get(BROKER, "not needed")
    return f"broker: {broker}" if isinstance(broker, str) else f"broker: {broker.version} ({broker.kind})"


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Broker:
    """Return the session's shared broker; tests must not stop it, and must use `unique` names."""
    broker = pytestconfig.stash[BROKER]
    if isinstance(broker, str):
        none_to_be_had(broker)
    return broker


@pytest.fixture(scope="session")
def spare_broker() -> Iterator[SpareBroker]:
    """Yield the private broker of this process."""
    with contextlib.closing(SpareBroker()) as spare:
        yield spare


@pytest.fixture(scope="module")
def own_broker(spare_broker: SpareBroker) -> Iterator[RabbitProcess]:
    """Yield a private broker for one module, whose tests may configure, kill and restart it."""
    try:
        yield spare_broker.lend()
    except BrokerUnavailable as error:
        none_to_be_had(str(error))
    spare_broker.take_back()


def none_to_be_had(reason: str) -> NoReturn:
    """Skip the test if no broker is available; in CI, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no broker: {reason}")
    pytest.skip(f"no broker: {reason}")


@pytest.fixture
def amqp_url(broker: Broker) -> str:
    """Return the URL of the shared broker."""
    return broker.url


@pytest.fixture
def unique() -> str:
    """Return a prefix for the test's queues and exchanges; a virtual host of its own would take a second."""
    return f"t-{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Return the seed of the run, as printed in the header."""
    return pytestconfig.stash[SEED]


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Return a random generator that depends only on the seed and the test, not on earlier tests."""
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture(autouse=True)
def no_secrets() -> None:
    """Forget the secrets of the previous test, such as the word «password»."""
    redaction.forget()


@pytest.fixture(scope="session", autouse=True)
def clean_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the project's settings from the environment: neither the shell nor a `.env` file sets any.

    Programs under test run outside the checkout, and still import its packages.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        for name in [name for name in os.environ if name.startswith(OUTSIDE_PREFIXES)]:
            patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield
