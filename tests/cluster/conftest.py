"""Fixtures of the cluster tests: a cluster in a network of its own, an emulator, and sites with workers."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.emulator.testing import Emulator
from infra.local.ready import BrokerUnavailable
from tests.chaos.site import Site
from tests.cluster import faults
from tests.cluster.network import NoNamespace, own_network
from tests.cluster.nodes import RECOMMENDED, Cluster, running_cluster
from tests.conftest import none_to_be_had
from tests.forks import running_emulator

WORKERS = 3
SETTLE = 6.0
"""Seconds that a backup takes: each event waits several times, so that many wait when something happens."""

DEFAULTS = os.environ.get("CLUSTER_DEFAULTS") == "true"
"""Measure with RabbitMQ's default confirm timeout of dead-lettering instead of the recommended one."""

StartSite = Callable[..., Site]


@pytest.fixture(scope="session")
def network() -> Iterator[str]:
    """Enter a network of our own; its value is the reason where that is not possible, else empty."""
    with ExitStack() as stack:
        try:
            stack.enter_context(own_network())
        except NoNamespace as error:
            yield f"no network namespace: {error}"
        else:
            yield ""


@pytest.fixture(scope="session")
def cluster(network: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Run three nodes; the parameter is what they do in a partition."""
    handling = getattr(request, "param", "pause_minority")
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(running_cluster(handling, "" if DEFAULTS else RECOMMENDED))
        except BrokerUnavailable as error:
            none_to_be_had(str(error))
        faults.add_user(cluster)
        yield cluster


@pytest.fixture
def emulator(network: str, seed: int) -> Iterator[Emulator]:
    """Run an emulator in its own process, whose random choices repeat with the seed."""
    with running_emulator(settle=SETTLE, seed=seed) as emulator:
        yield emulator


@pytest.fixture
def start_site(cluster: Cluster, emulator: Emulator, tmp_path: Path, unique: str) -> Iterator[StartSite]:
    """Start a site: ``start_site(leader, at)`` has its queues led by one node, and its test at another.

    Its workers know all addresses, and each starts at one of them. They track backups, so that every event
    goes through wait queues.
    """
    with ExitStack() as stack:

        def start(leader: int, at: int, *, workers: int = WORKERS, **settings: str) -> Site:
            urls = cluster.amqp_url.replace("guest:guest", f"{faults.USER}:{faults.PASSWORD}")
            wanted = {"AMQP_URL": urls, "TRACK_BACKUPS": "true", **settings}
            site = Site(cluster.urls[at], emulator, tmp_path, unique, wanted)
            site.declare_at(cluster.urls[leader])
            stack.enter_context(site)
            for _ in range(workers):
                site.start_worker()
            return site

        yield start
