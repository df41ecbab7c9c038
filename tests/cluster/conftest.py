"""Fixtures of the cluster tests: one cluster for all of them, an emulator, and sites with real workers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.emulator.testing import Emulator, running_emulator
from infra.local.ready import BrokerUnavailable
from tests.chaos.site import Site
from tests.cluster.nodes import Cluster, running_cluster
from tests.conftest import none_to_be_had

WORKERS = 3

StartSite = Callable[[int, int], Site]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run three nodes."""
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(running_cluster())
        except BrokerUnavailable as error:
            none_to_be_had(str(error))
        yield cluster


@pytest.fixture
def emulator(seed: int) -> Iterator[Emulator]:
    """Run an emulator in its own process, whose random choices repeat with the seed."""
    with running_emulator(process=True, settle=0.2, seed=seed) as emulator:
        yield emulator


@pytest.fixture
def start_site(cluster: Cluster, emulator: Emulator, tmp_path: Path, unique: str) -> Iterator[StartSite]:
    """Start a site: ``start_site(leader, at)`` has its queues led by one node, and its test at another.

    Its workers know all addresses, and each starts at one of them. They track backups, so that every event
    goes through wait queues.
    """
    with ExitStack() as stack:

        def start(leader: int, at: int) -> Site:
            settings = {"AMQP_URL": cluster.amqp_url, "TRACK_BACKUPS": "true"}
            site = Site(cluster.urls[at], emulator, tmp_path, unique, settings)
            site.declare_at(cluster.urls[leader])
            stack.enter_context(site)
            for _ in range(WORKERS):
                site.start_worker()
            return site

        yield start
