"""Tests on a cluster of three RabbitMQ nodes, started on loopback."""
