"""A RabbitMQ broker for first runs and tests: that of `AMQP_URL`, a container, or a private process."""

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
        """AMQP URL to connect to; for a given cluster several URLs with commas between."""

    @property
    def kind(self) -> str:
        """One of `given`, `container`, `process`."""

    @property
    def version(self) -> str:
        """Product and version that the server reports, such as `RabbitMQ 3.10.8`."""


@dataclass(frozen=True)
class GivenBroker:
    """The broker of `AMQP_URL`; we neither start nor stop it."""

    url: str
    version: str
    kind: Final = "given"


Start = Callable[[], AbstractContextManager[Broker]]
OWN_BROKERS: Final[tuple[Start, ...]] = (running_container, running_server)


@contextlib.contextmanager
def running_broker(given_url: str | None = None, *, own: tuple[Start, ...] = OWN_BROKERS) -> Iterator[Broker]:
    """Provide a broker for the duration of the block; a broker started for it ends with it.

    Args:
        given_url: a broker that runs; by default that of `AMQP_URL`.
        own: functions that start a broker of our own; the first that succeeds is used.

    Raises:
        BrokerUnavailable: no broker is given and none can be started; the message has every reason.
    """
    url = given_url or os.environ.get("AMQP_URL", "")
    with contextlib.ExitStack() as stack:
        yield given_broker(url) if url else _first_that_starts(stack, own)


def given_broker(urls: str) -> GivenBroker:
    """Return the broker at these URLs (commas between), after signing in to one of them.

    Raises:
        BrokerUnavailable: no URL answers, or the sign-in is refused.
    """
    for url in urls.split(","):
        try:
            return GivenBroker(urls, server_version(url.strip()))
        except (pika.exceptions.AMQPError, OSError, ValueError) as error:
            reason = repr(error)
    raise BrokerUnavailable(
        f"AMQP_URL is set, but signing in to that broker failed: {reason}. "
        "Correct it, for example AMQP_URL=amqp://guest:guest@localhost:5672/, or unset it to start a broker"
    )


def _first_that_starts(stack: contextlib.ExitStack, own: tuple[Start, ...]) -> Broker:
    reasons = []
    for start in own:
        try:
            return stack.enter_context(start())
        except BrokerUnavailable as error:
            log.info("%s", error)
            reasons.append(str(error))
    raise BrokerUnavailable("; ".join(reasons))
