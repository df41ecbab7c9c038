"""A RabbitMQ for first runs and tests: the one given, else a container, else a private process."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import pika.exceptions

from infra.local.container import running_container
from infra.local.ready import BrokerUnavailable, server_version
from infra.local.server import running_server

log = logging.getLogger(__name__)


class Broker(Protocol):
    """A broker that answers; a `RabbitProcess` can also be killed and restarted."""

    @property
    def url(self) -> str:
        """AMQP URL to connect to; several with commas between for a given cluster."""

    @property
    def kind(self) -> str:
        """One of `given`, `container`, `process`."""

    @property
    def version(self) -> str:
        """What the server says of itself, like `RabbitMQ 3.10.8`."""


@dataclass(frozen=True)
class GivenBroker:
    """Somebody else's broker, named by `AMQP_URL`; we only use it."""

    url: str
    version: str
    kind: Final = "given"


Start = Callable[[], AbstractContextManager[Broker]]
OWN_BROKERS: Final[tuple[Start, ...]] = (running_container, running_server)


@contextlib.contextmanager
def running_broker(given_url: str | None = None, *, own: tuple[Start, ...] = OWN_BROKERS) -> Iterator[Broker]:
    """A broker for the time of the block; what was started for it ends with it.

    Args:
        given_url: a broker that runs; by default what `AMQP_URL` says.
        own: the ways to a broker of our own, the first that works is taken.

    Raises:
        BrokerUnavailable: none can be had; the message has each way's reason.
    """
    url = given_url or os.environ.get("AMQP_URL", "")
    with contextlib.ExitStack() as stack:
        yield given_broker(url) if url else _first_that_starts(stack, own)


def given_broker(urls: str) -> GivenBroker:
    """The broker at these URLs (commas between), after asking whether one of them answers.

    Raises:
        BrokerUnavailable: none answers.
    """
    for url in urls.split(","):
        try:
            return GivenBroker(urls, server_version(url.strip()))
        except (pika.exceptions.AMQPError, OSError, ValueError) as error:
            reason = repr(error)
    raise BrokerUnavailable(f"AMQP_URL is set, but no broker lets us in there: {reason}")


def _first_that_starts(stack: contextlib.ExitStack, own: tuple[Start, ...]) -> Broker:
    reasons = []
    for start in own:
        try:
            return stack.enter_context(start())
        except BrokerUnavailable as error:
            log.info("%s", error)
            reasons.append(str(error))
    raise BrokerUnavailable("; ".join(reasons))
