"""What may happen to a cluster of three nodes: each fault is a context manager, and lasts for its block.

At its end everything runs again, and every node sees the two others.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from subprocess import CalledProcessError
from typing import NamedTuple

from tests.chaos.rabbit import delete
from tests.chaos.site import Site, wait_for
from tests.cluster.network import cut
from tests.cluster.nodes import HOSTS, Cluster, start_together

USER, PASSWORD = "worker", "secret"
"""The login of the workers, which a fault changes; the test has another one."""

LEADER = 0
CLIENTS = "127.0.0.1"
"""The address that all clients come from."""

Begin = Callable[[Cluster, Site], AbstractContextManager[None]]


class Fault(NamedTuple):
    """A fault by its name. ``served`` says that two nodes go on meanwhile, so that events must end in it.

    A fault during which nothing can be served lasts ``seconds``. ``leader`` is the node that leads all queues
    of the workers when it begins.
    """

    name: str
    begin: Begin
    served: bool = True
    seconds: float = 0.0
    partition: bool = False
    handling: str = "pause_minority"
    leader: int = LEADER

    def __str__(self) -> str:
        return self.name


def start(cluster: Cluster, numbers: Sequence[int]) -> None:
    """Start nodes together, as they need each other, and wait until each is one of three."""
    start_together([cluster.nodes[number] for number in numbers])
    wait_for(lambda: whole(cluster), seconds=180, what=lambda: "not all nodes are back")


def whole(cluster: Cluster) -> bool:
    """Return whether every node sees all three; a node that pauses or restarts does not say."""
    try:
        return cluster.whole()
    except CalledProcessError:
        return False


@contextlib.contextmanager
def killed(numbers: Sequence[int], cluster: Cluster, _site: Site) -> Iterator[None]:
    """Kill nodes, and start them again."""
    for number in numbers:
        cluster.nodes[number].kill()
    try:
        yield
    finally:
        start(cluster, numbers)


@contextlib.contextmanager
def paused(cluster: Cluster, _site: Site) -> Iterator[None]:
    """Let the leader stand still. It is started anew: RabbitMQ may need minutes to take it in again."""
    with cluster.paused(LEADER):
        yield
    cluster.nodes[LEADER].kill()
    start(cluster, [LEADER])


@contextlib.contextmanager
def stopped(cluster: Cluster, _site: Site) -> Iterator[None]:
    """Stop RabbitMQ on the leader and let its Erlang run on, as an operator does for repairs."""
    cluster.nodes[LEADER].ctl("stop_app")
    try:
        yield
    finally:
        cluster.nodes[LEADER].ctl("start_app")
        wait_for(lambda: whole(cluster), seconds=180, what=lambda: "the node is not back")


@contextlib.contextmanager
def cut_off(others: Sequence[str], cluster: Cluster, _site: Site) -> Iterator[None]:
    """Cut the leader off from other nodes; clients reach all three."""
    with cut(HOSTS[LEADER], others):
        yield
    if not _comes_back(cluster):  # with ``ignore`` the nodes stay apart until one is started anew
        cluster.nodes[LEADER].kill()
        start(cluster, [LEADER])


@contextlib.contextmanager
def unreachable(_cluster: Cluster, _site: Site) -> Iterator[None]:
    """Lose every packet between the clients and the leader; the nodes see each other."""
    with cut(CLIENTS, HOSTS[LEADER : LEADER + 1]):
        yield


def _comes_back(cluster: Cluster) -> bool:
    """Return whether the nodes find together by themselves, with no table of a partition left."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        if whole(cluster) and not cluster.partitioned():
            return True
        time.sleep(0.5)
    return False


@contextlib.contextmanager
def deleted(queues: Sequence[str], exchanges: Sequence[str], _cluster: Cluster, site: Site) -> Iterator[None]:
    """Delete queues and exchanges, by the ends of their names, once no event waits for its first handling.

    What was never handled is in the broker alone; it would be lost with its queue.
    """
    wait_for(lambda: not site.counts()[site.name], seconds=60, what=site.counts)
    delete(site.rabbit, [site.name + end for end in queues], [site.name + end for end in exchanges])
    yield


@contextlib.contextmanager
def locked_out(change: Sequence[str], back: Sequence[str], cluster: Cluster, _site: Site) -> Iterator[None]:
    """Change the workers' login at the broker, and close their connections."""
    ctl = cluster.nodes[1].ctl
    ctl(*change)
    ctl("close_all_connections", "--vhost", "/", "changed")
    try:
        yield
    finally:
        ctl(*back)


_RIGHTS = ("set_permissions", "-p", "/", USER, ".*", ".*", ".*")
_READ_ONLY = ("set_permissions", "-p", "/", USER, ".*", "", ".*")
_NO_CONNECTION = ("set_user_limits", USER, '{"max-connections": 0}')

FAULTS = (
    *(Fault(f"leader {number} killed", partial(killed, [number]), leader=number) for number in range(3)),
    Fault("leader paused", paused),
    Fault("leader stopped by ctl", stopped),
    *(
        Fault(f"leader cut off, {handling}", partial(cut_off, HOSTS[1:]), partition=True, handling=handling)
        for handling in ("pause_minority", "autoheal", "ignore")
    ),
    Fault("leader cut off from one node", partial(cut_off, HOSTS[2:]), partition=True),
    Fault("leader cut off from the workers", unreachable, partition=True),
    Fault("no majority", partial(killed, [1, 2]), served=False, seconds=20.0),
    Fault("all nodes down", partial(killed, [0, 1, 2]), served=False, seconds=10.0),
    Fault("input queue deleted", partial(deleted, [""], [])),
    Fault("wait queues deleted", partial(deleted, [".wait.1s", ".wait.2s", ".wait.4s"], [])),
    Fault("exchanges deleted", partial(deleted, [], ["", ".in"])),
    Fault(
        "password changed",
        partial(locked_out, ("change_password", USER, "another"), ("change_password", USER, PASSWORD)),
        served=False,
        seconds=10.0,
    ),
    Fault(
        "rights taken",
        partial(locked_out, ("clear_permissions", "-p", "/", USER), _RIGHTS),
        served=False,
        seconds=10.0,
    ),
    Fault("right to write taken", partial(locked_out, _READ_ONLY, _RIGHTS), served=False, seconds=10.0),
    Fault(
        "connections limited",
        partial(locked_out, _NO_CONNECTION, ("clear_user_limits", USER, "all")),
        served=False,
        seconds=10.0,
    ),
)


def add_user(cluster: Cluster) -> None:
    """Make the workers' login."""
    node = cluster.nodes[0]
    if USER not in node.ctl("list_users"):
        node.ctl("add_user", USER, PASSWORD)
    node.ctl(*_RIGHTS)
