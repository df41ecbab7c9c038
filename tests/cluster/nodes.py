"""``Cluster``: three RabbitMQ nodes of the installed package on loopback, with own ports and data."""

import contextlib
import json
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.local.guardian import Guardian
from infra.local.programs import ensure_programs
from infra.local.ready import wait_until
from infra.local.server import Member, RabbitProcess

HOSTS = ("127.0.1.1", "127.0.1.2", "127.0.1.3")
"""Each node has an address of its own, so that links between nodes can be cut."""
NAMES = tuple(f"{name}@{host}" for name, host in zip(("one", "two", "three"), HOSTS, strict=True))
RECOMMENDED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}].\n"
"""What handler/README.md recommends for a cluster, besides ``pause_minority``."""

_SETTINGS = "cluster_partition_handling = {handling}\nnet_ticktime = 15\n"
_JOINED_SECONDS = 60.0


@dataclass
class Cluster:
    """Three nodes; ``urls`` are in the order of ``nodes``."""

    nodes: Sequence[RabbitProcess]

    @property
    def urls(self) -> Sequence[str]:
        """The address of each node."""
        return [node.url for node in self.nodes]

    @property
    def amqp_url(self) -> str:
        """All addresses, as a setting."""
        return ",".join(self.urls)

    def leader(self, queue: str, *, ask: int = 0) -> str:
        """Return the name of the node that leads a quorum queue, by what another node knows."""
        listed = self.nodes[ask].ctl("list_queues", "name", "leader", "--formatter", "csv")
        rows = [line.replace('"', "").split(",") for line in listed.splitlines()]
        return next((leader for name, leader in rows if name == queue), "")

    @contextlib.contextmanager
    def paused(self, number: int) -> Iterator[None]:
        """Let a node's process stand still within the block; its kernel goes on to take connections."""
        pid = self.nodes[number].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def partitioned(self) -> bool:
        """Return whether a node still knows of a partition."""
        return any(
            any(json.loads(node.ctl("cluster_status", "--formatter", "json"))["partitions"].values())
            for node in self.nodes
        )

    def whole(self) -> bool:
        """Return whether every node sees all three running."""
        return all(len(_running(node)) == len(NAMES) for node in self.nodes)


def _running(node: RabbitProcess) -> Sequence[str]:
    """Return the running nodes that a node knows."""
    running: Sequence[str] = json.loads(node.ctl("cluster_status", "--formatter", "json"))["running_nodes"]
    return running


def start_together(nodes: Sequence[RabbitProcess]) -> None:
    """Start nodes at once: from RabbitMQ 4 a new one waits for its peers. Raises ``BrokerUnavailable``."""
    with ThreadPoolExecutor(len(nodes)) as threads:
        for started in [threads.submit(node.start) for node in nodes]:
            started.result()


@contextlib.contextmanager
def running_cluster(handling: str = "pause_minority", advanced: str = RECOMMENDED) -> Iterator[Cluster]:
    """Run three nodes for the duration of the block. Raises ``BrokerUnavailable``.

    ``handling`` is what they do in a partition, ``advanced`` their ``advanced.config``.
    """
    programs = ensure_programs()
    cookie = secrets.token_hex(20)
    nodes: list[RabbitProcess] = []
    with contextlib.ExitStack() as stack:
        settings = _SETTINGS.format(handling=handling)
        for name, host in zip(NAMES, HOSTS, strict=True):
            folder = Path(tempfile.mkdtemp(prefix="snapshot-backup-node-"))
            guardian = Guardian(folder)
            stack.callback(guardian.close)
            epmd = nodes[0].epmd_port if nodes else None
            member = Member(name, host, NAMES, cookie, epmd, settings, advanced)
            node = RabbitProcess(folder, programs, guardian, member)
            stack.callback(node.close)
            nodes.append(node)
        nodes[0].start_epmd()
        start_together(nodes)
        cluster = Cluster(nodes)
        assert wait_until(cluster.whole, seconds=_JOINED_SECONDS)
        yield cluster
