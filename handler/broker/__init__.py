"""RabbitMQ by pika: connection, topology, consuming, publishing with publisher confirms."""
