"""A RabbitMQ broker for first runs and tests: that of `AMQP_URL`, a container, or a private process."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from handler import bootstrap
from handler.broker.connection import SETTING
from handler.causes import explain
from handler.errors import BrokerError, ConnectionLost, SettingsError
from handler.settings import Settings, load_settings
from infra.local.container import running_container
from infra.local.ready import BrokerUnavailable
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


UNSET: Final = "or unset AMQP_URL to start a broker"

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
    url = (given_url or os.environ.get("AMQP_URL", "")).strip()
    with contextlib.ExitStack() as stack:
        yield given_broker(url) if url else _first_that_starts(stack, own)


def given_broker(urls: str) -> GivenBroker:
    """Return the broker at these URLs (commas between), after signing in to one of them.

    Raises:
        BrokerUnavailable: no URL answers, or the sign-in is refused.
    """
    try:
        settings = load_settings(_env_file=None, amqp_url=urls)
        return GivenBroker(urls, asyncio.run(_version(settings)))
    except ConnectionLost as error:
        cause, remedy = explain(SETTING, error.reason)
        reason = f"{cause}; {remedy}"
    except (SettingsError, BrokerError) as error:
        reason = str(error)
    raise BrokerUnavailable(f"no connection to the broker that AMQP_URL names: {reason}; {UNSET}")


async def _version(settings: Settings) -> str:
    """Sign in as a worker does, by the same settings of TLS, and return product and version."""
    async with await bootstrap.open_connection(settings) as connection:
        return str(connection.product)


def _first_that_starts(stack: contextlib.ExitStack, own: tuple[Start, ...]) -> Broker:
    reasons = []
    for start in own:
        try:
            return stack.enter_context(start())
        except BrokerUnavailable as error:
            log.info("%s", error)
            reasons.append(str(error))
    raise BrokerUnavailable("; ".join(reasons))
