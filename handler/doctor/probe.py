"""Probes of the broker that change nothing. Each uses a channel of its own, since a refusal closes it.

RabbitMQ checks rights before arguments. So a declaration or a consumer with invalid arguments shows whether
the right exists, and never declares anything (tried on 3.10.8, 4.0.5 and 4.3.6). Unbinding a binding that
cannot exist shows the rights to write and to read.
"""

import uuid
from typing import Any

from handler.broker.connection import BrokerConnection, ChannelClosed

ACCESS_REFUSED, NOT_FOUND, LOCKED, PRECONDITION_FAILED = 403, 404, 405, 406
_ANSWERS = (ACCESS_REFUSED, NOT_FOUND, LOCKED, PRECONDITION_FAILED)

INVALID_QUEUE = {"x-stream-max-segment-size-bytes": -1}
INVALID_EXCHANGE = {"alternate-exchange": True}
INVALID_CONSUMER = {"x-priority": "none"}
"""Arguments that RabbitMQ always refuses with 406."""


def unused_key() -> str:
    """Return a routing key that no queue is bound for."""
    return f"snapshot-backup.doctor.{uuid.uuid4()}"


async def ask(connection: BrokerConnection, method: str, **arguments: Any) -> Any:
    """Call a method of pika's channel; return the broker's answer, or its refusal as ``ChannelClosed``.

    Raises ``ConnectionLost`` if there is no answer.
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
    """Return whether the answer is a refusal with this code."""
    return isinstance(answer, ChannelClosed) and answer.code == code
