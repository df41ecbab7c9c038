"""The broker's product and version, and what they mean for the queues that the program declares."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

QUORUM_SINCE = (3, 10)
"""The version of RabbitMQ from which quorum queues have a message TTL and dead-letter at least once: without
these there are no wait queues."""

OLD_BROKER = (
    "has no quorum queues with a message TTL and at-least-once dead-lettering: RabbitMQ has them from 3.10 "
    "on. Upgrade RabbitMQ, or set QUEUE_TYPE=classic, which can lose waiting messages when the broker crashes"
)
LAVINMQ = (
    "makes an ordinary durable queue of each quorum queue and does not say so: on one node, and without "
    "at-least-once dead-lettering, so that waiting messages can be lost when it crashes. It is not tested; "
    "set QUEUE_TYPE=classic, which says what the queues are"
)
OTHER_PRODUCT = "only RabbitMQ is tested. For a broker without quorum queues set QUEUE_TYPE=classic"


class Product(NamedTuple):
    """A broker's product and version, such as ``RabbitMQ`` and ``3.10.8``; what it does not say is empty."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name or 'an unknown broker'} {self.version}".strip()

    @property
    def quorum_problem(self) -> str | None:
        """Why quorum queues cannot be declared as the program needs them; None where nothing says so."""
        numbers = re.match(r"(\d+)\.(\d+)", self.version)
        if self.name == "RabbitMQ" and numbers and (int(numbers[1]), int(numbers[2])) < QUORUM_SINCE:
            return f"{self} {OLD_BROKER}"
        return None

    def doubt(self, *, quorum: bool) -> str | None:
        """Why the broker may treat our queues otherwise than RabbitMQ does; None for RabbitMQ."""
        if self.name == "RabbitMQ" and self.version[:1].isdigit():
            return None
        return f"{self} {LAVINMQ}" if quorum and self.name == "LavinMQ" else f"{self}: {OTHER_PRODUCT}"


def product(properties: Mapping[str, Any]) -> Product:
    """Parse a broker's server properties. What is no text counts as absent."""
    return Product(
        *(text if isinstance(text := properties.get(key), str) else "" for key in ("product", "version"))
    )
