"""A queue for the outcomes, so that they can be looked at in the broker's management page.

The worker declares the exchange but no queue behind it: each consumer of outcomes declares its own.
Without any, `RESULT_UNROUTABLE=wait` (the default) publishes each outcome again and again.
"""

import os

import pika

QUEUE = "outcomes"
# It has no consumer; the oldest outcomes make room.
MAX_LENGTH = 10_000


def bind(url: str, exchange: str, queue: str = QUEUE) -> None:
    """Declare `queue`, durable and bounded, and bind it to every outcome of `exchange`."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(exchange, "topic", durable=True)
        arguments = {"x-queue-type": "quorum", "x-max-length": MAX_LENGTH}
        channel.queue_declare(queue, durable=True, arguments=arguments)
        channel.queue_bind(queue, exchange, "#")


if __name__ == "__main__":
    bind(os.environ["AMQP_URL"], os.environ.get("RESULT_EXCHANGE", "backups"))
