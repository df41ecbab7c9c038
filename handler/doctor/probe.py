"""Questions to the broker that change nothing, each on a channel of its own, since a «no» closes it.

RabbitMQ looks at rights before it looks at arguments, so that a declaration or a consumer whose arguments
cannot be valid tells whether the right is there and never makes anything (tried on 3.10.8, 4.0.5 and 4.3.6).
Taking away a binding that cannot exist tells the same of the rights to write and to read.
"""

import uuid
from typing import Any

from handler.broker.connection import BrokerConnection, ChannelClosed

ACCESS_REFUSED, NOT_FOUND, LOCKED, PRECONDITION_FAILED = 403, 404, 405, 406
_ANSWERS = (ACCESS_REFUSED, NOT_FOUND, LOCKED, PRECONDITION_FAILED)

INVALID_QUEUE = {"x-stream-max-segment-size-bytes": -1}
INVALID_EXCHANGE = {"alternate-exchange": True}
INVALID_CONSUMER = {"x-priority": "none"}
"""Arguments that RabbitMQ refuses with 406 whatever else is asked for."""


def unused_key() -> str:
    """Return a routing key that nobody is bound for."""
    return f"snapshot-backup.doctor.{uuid.uuid4()}"


async def ask(connection: BrokerConnection, method: str, **arguments: Any) -> Any:
    """Call a method of pika's channel; return the broker's answer, or its «no» as ``ChannelClosed``.

    Raises ``ConnectionLost`` where there is no answer at all.
    """
    channel = await connection.channel()
    try:
        return await channel.call(getattr(channel.raw, method), **arguments)
    except ChannelClosed as error:
        if error.code not in _ANSWERS:
            raise
        return error
    finally:
        await channel.close()


def refused(answer: object, code: int) -> bool:
    """Tell whether the answer is a «no» with this code."""
    return isinstance(answer, ChannelClosed) and answer.code == code
