"""The queue that collects outcomes in the container set-up, on a real broker."""

import pika
import pytest

from infra.docker.outcomes import bind

pytestmark = pytest.mark.broker


def test_outcomes_reach_the_queue_and_a_repeat_changes_nothing(amqp_url: str, unique: str) -> None:
    """An outcome reaches the queue, even if the queue was declared and bound twice."""
    exchange, queue = f"{unique}.backups", f"{unique}.outcomes"
    bind(amqp_url, exchange, queue)
    bind(amqp_url, exchange, queue)

    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, "backup.completed", b"outcome", mandatory=True)
        _, _, body = channel.basic_get(queue, auto_ack=True)
        channel.queue_delete(queue)
        channel.exchange_delete(exchange)
    assert body == b"outcome"
