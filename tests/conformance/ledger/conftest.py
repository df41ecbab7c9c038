"""The ledgers that the suite runs over, each in the same way."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger
from handler.ledger.stores import open_ledger
from tests import pgbouncer, postgres
from tests.twins.two_paths import without_quick_path

LONG = 60.0
"""A lease, in seconds, that does not end during a test."""

Opener = Callable[[float], StoredLedger]
"""Opens a ledger with a lease of so many seconds."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop that the program uses."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One server for all tests; each test has a database of its own."""
    with postgres.server() as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[postgres.Server]:
    """A server for a test that crashes it."""
    # Recovery replays what was written since the last checkpoint. With the databases of all tests, that is so
    # much that the server took longer than START_SECONDS on a busy machine (40 databases: a minute).
    with postgres.server() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_pooler(postgres_server: postgres.Server) -> Iterator[pgbouncer.Pooler]:
    """A PgBouncer before that server; the ledgers of a database share two connections."""
    options = {**pgbouncer.TRANSACTION, "default_pool_size": 2, "server_idle_timeout": 5}
    with pgbouncer.pooler(postgres_server.port, options) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger that several processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return database_url(request)


def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty database, by way of PgBouncer for the parameter ``pgbouncer``."""
    server: postgres.Server = request.getfixturevalue("postgres_server")
    url = server.emptied("ledger")
    if request.param != "pgbouncer":
        return url
    pooler: pgbouncer.Pooler = request.getfixturevalue("postgres_pooler")
    return pooler.url(url)


BY_RULES = pytest.param("sqlite-by-rules", marks=pytest.mark.chaos)
"""A SQLite ledger that never takes the quick path: nightly, since a property test holds both to the same."""


@pytest.fixture(params=["memory", "sqlite", BY_RULES, "postgres", "pgbouncer"])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens an empty ledger of each kind."""
    async with AsyncExitStack() as stack:

        def opened(lease_seconds: float) -> StoredLedger:
            ledger = _open(request, tmp_path, lease_seconds)
            stack.push_async_callback(ledger.aclose)
            return ledger

        yield opened


@pytest.fixture
def ledger(opener: Opener) -> StoredLedger:
    """An empty ledger whose leases hold throughout the test."""
    return opener(LONG)


def _open(request: pytest.FixtureRequest, folder: Path, lease_seconds: float) -> StoredLedger:
    if request.param == "memory":
        return MemoryLedger(lease_seconds=lease_seconds)
    if request.param in ("sqlite", "sqlite-by-rules"):
        ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}", lease_seconds=lease_seconds)
        return ledger if request.param == "sqlite" else without_quick_path(ledger)
    return open_ledger(database_url(request), lease_seconds=lease_seconds)
