"""A network namespace of the tests' own, in which links between addresses of loopback can be cut.

All that the test process starts afterwards is in it too: brokers, workers, databases. No rule of the machine
is touched.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_NEW_NETWORK = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class NoNamespace(Exception):
    """This process may not make a network namespace; only root may."""


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Move this thread into a network namespace of its own, with loopback alone. Raises ``NoNamespace``."""
    with Path("/proc/thread-self/ns/net").open() as outside:
        if _LIBC.unshare(_NEW_NETWORK):
            raise NoNamespace(os.strerror(ctypes.get_errno()))
        try:
            _ip("link", "set", "lo", "up")
            # The table of local addresses is asked first otherwise, and nothing can be cut.
            _ip("rule", "add", "pref", "100", "lookup", "local")
            _ip("rule", "del", "pref", "0", "lookup", "local")
            yield
        finally:
            _LIBC.setns(outside.fileno(), _NEW_NETWORK)


@contextlib.contextmanager
def cut(one: str, others: Sequence[str]) -> Iterator[None]:
    """Lose every packet between an address and the others within the block."""
    rules = [(here, there) for other in others for here, there in ((one, other), (other, one))]
    for here, there in rules:
        _ip("rule", "add", "pref", "10", "from", here, "to", there, "blackhole")
    try:
        yield
    finally:
        for here, there in rules:
            _ip("rule", "del", "pref", "10", "from", here, "to", there, "blackhole")


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise NoNamespace(f"{error} {getattr(error, 'stderr', '')}") from error
