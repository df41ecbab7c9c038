"""Findings of the doctor on faults of a real broker, each with its remedy."""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from handler.broker.topology import Topology
from infra.local.server import RabbitProcess, free_ports
from tests.integration.doctor.looking import Look
from tests.tls import make_certificate, tls_front

pytestmark = pytest.mark.broker


@contextmanager
def channel(broker: RabbitProcess) -> Iterator[BlockingChannel]:
    """Open a channel of another program."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        yield connection.channel()


def arguments(unique: str) -> dict[str, Any]:
    """Return the arguments of the main queue."""
    topology = Topology(unique, f"{unique}.snapshots", f"{unique}.backups", (5, 30))
    return next(topology.queues()).arguments


Limited = Callable[[str, str, str], str]


@pytest.fixture
def limited(own_broker: RabbitProcess) -> Limited:
    """Return a function that adds a user with only these rights, and returns its URL."""

    def make(configure: str, write: str, read: str) -> str:
        user = f"u{secrets.token_hex(4)}"
        own_broker.ctl("add_user", user, user)
        own_broker.ctl("set_permissions", "-p", "/", user, configure, write, read)
        return own_broker.url.replace("guest:guest", f"{user}:{user}")

    return make


def test_a_declared_topology_is_ok(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """After --declare, and with a queue for outcomes, all findings on the broker are ok."""
    look(declare=True)
    with channel(own_broker) as other:
        queue = other.queue_declare("", exclusive=True).method.queue
        other.queue_bind(queue, f"{unique}.backups", "backup.*")

        report = look()

    assert 0 == report.exit
    assert {"ok"} == {each.state for each in report.findings if each.area == "broker"}


def test_a_wrong_password_is_bad(look: Look, own_broker: RabbitProcess) -> None:
    """For a refused login the remedy names AMQP_URL, and never the password."""
    report = look(AMQP_URL=own_broker.url.replace("guest:guest", "guest:s3cr3t"))

    found = report.one("broker", "bad", "refused user and password", "AMQP_URL")
    assert 1 == report.exit
    assert "s3cr3t" not in f"{found}"


def test_an_unknown_virtual_host_is_bad(look: Look, own_broker: RabbitProcess) -> None:
    """A virtual host that does not exist is reported with AMQP_URL."""
    look(AMQP_URL=f"{own_broker.url}nowhere").one("broker", "bad", "virtual host does not exist", "AMQP_URL")


def test_a_virtual_host_without_rights_is_bad(look: Look, own_broker: RabbitProcess) -> None:
    """If the user has no rights in the virtual host, the remedy shows how to grant them."""
    own_broker.ctl("add_user", "nobody", "nobody")

    report = look(AMQP_URL=own_broker.url.replace("guest:guest", "nobody:nobody"))

    report.one("broker", "bad", "may not use this virtual host", "set_permissions")


def test_a_wrong_port_is_bad(look: Look) -> None:
    """If the broker refuses connections, the other areas are still checked."""
    report = look(AMQP_URL=f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/")

    report.one("broker", "bad", "no program listens", "AMQP_URL")
    report.one("api", "ok", "list of backups")


def test_one_broken_node_of_a_cluster_is_a_warning(look: Look, own_broker: RabbitProcess) -> None:
    """An unreachable node is a warning if another node of the cluster answers."""
    report = look(AMQP_URL=f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/,{own_broker.url}")

    report.one("broker", "warning", "no program listens")
    assert 0 == report.exit


def test_a_broker_over_tls_with_a_known_authority_is_ok(
    look: Look, own_broker: RabbitProcess, tmp_path: Path
) -> None:
    """With AMQP_CA_FILE the TLS connection succeeds."""
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_front(own_broker.port, certificate) as port:
        report = look(
            AMQP_URL=f"amqps://guest:guest@127.0.0.1:{port}/", AMQP_CA_FILE=str(certificate.certificate)
        )

    report.one("broker", "ok", "over TLS")


def test_a_certificate_for_another_name_is_bad(look: Look, own_broker: RabbitProcess, tmp_path: Path) -> None:
    """For a certificate with another host name the remedy names AMQP_URL."""
    certificate = make_certificate(tmp_path, "DNS:broker.example.com")
    with tls_front(own_broker.port, certificate) as port:
        report = look(
            AMQP_URL=f"amqps://guest:guest@127.0.0.1:{port}/", AMQP_CA_FILE=str(certificate.certificate)
        )

    report.one("broker", "bad", "for another name", "AMQP_URL")


def test_a_certificate_of_an_unknown_authority_is_bad(
    look: Look, own_broker: RabbitProcess, tmp_path: Path
) -> None:
    """For a certificate of an unknown authority the remedy names AMQP_CA_FILE."""
    with tls_front(own_broker.port, make_certificate(tmp_path, "IP:127.0.0.1")) as port:
        report = look(AMQP_URL=f"amqps://guest:guest@127.0.0.1:{port}/")

    report.one("broker", "bad", "not signed by a trusted authority", "AMQP_CA_FILE")


def test_tls_to_a_port_without_tls_is_bad(look: Look, own_broker: RabbitProcess) -> None:
    """An amqps:// URL with the plain port is reported."""
    report = look(AMQP_URL=own_broker.url.replace("amqp:", "amqps:"))

    report.one("broker", "bad", "does not speak TLS", "AMQP_URL")


def test_a_queue_of_another_type_is_bad(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """A classic queue is named with its type, and the remedy offers QUEUE_TYPE=classic."""
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=True)
        report = look()

    report.one(
        "broker", "bad", f"queue {unique}", "x-queue-type is classic, not quorum", "QUEUE_TYPE=classic"
    )
    assert 1 == report.exit


def test_a_queue_without_a_dead_letter_exchange_is_bad(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """Without a dead-letter exchange, rejected messages would vanish."""
    wanted = {
        name: value for name, value in arguments(unique).items() if not name.startswith("x-dead-letter")
    }
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=True, arguments=wanted)
        report = look()

    report.one("broker", "bad", f"x-dead-letter-exchange is none, not {unique}.dead", "would be lost")


def test_a_queue_that_drops_on_overflow_is_bad(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """All differences of a queue are reported in one run."""
    wanted = arguments(unique) | {
        "x-overflow": "drop-head",
        "x-max-length": 10,
        "x-dead-letter-strategy": "at-most-once",
    }
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=True, arguments=wanted)
        report = look()

    report.one(
        "broker",
        "bad",
        "x-overflow is drop-head, not reject-publish",
        "x-max-length is 10, not none",
        "delete",
    )


def test_a_dead_letter_queue_with_a_delivery_limit_is_bad(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """Without a delivery limit of its own, a dead-letter queue has that of RabbitMQ 4, which is 20."""
    look(declare=True)
    with channel(own_broker) as other:
        other.queue_delete(f"{unique}.dead")
        other.queue_declare(f"{unique}.dead", durable=True, arguments={"x-queue-type": "quorum"})
        report = look()

    report.one("broker", "bad", f"queue {unique}.dead", "x-delivery-limit is none, not 1000000000", "delete")


def test_a_queue_that_is_not_durable_is_bad(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """A restart of the broker would lose a queue that is not durable."""
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=False)
        report = look()
        other.queue_delete(unique)

    report.one("broker", "bad", "durable is false, not true", "would be lost when the broker restarts")


def test_an_exclusive_queue_of_another_program_is_bad(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """For an exclusive queue of our name, the remedy is to end the program that holds it."""
    with channel(own_broker) as other:
        other.queue_declare(unique, exclusive=True)
        report = look()

    report.one("broker", "bad", f"queue {unique}", "end the program that holds it")


def test_an_exchange_of_another_type_is_bad(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """A result exchange of type fanout is bad, since it would send every outcome to every queue."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.backups", "fanout", durable=True)
        report = look()

    report.one("broker", "bad", "type is fanout, not topic", "RESULT_EXCHANGE")


def test_a_missing_right_to_write_to_the_result_exchange_is_bad(
    look: Look, unique: str, limited: Limited
) -> None:
    """The finding names the result exchange and the right to write."""
    look(declare=True)

    report = look(AMQP_URL=limited(".*", rf"^({unique}|.*\.dead|amq\.default)$", ".*"))

    report.one("broker", "bad", "right to write", f"exchange {unique}.backups", "WRITE")


def test_a_missing_right_to_configure_is_found_before_anything_is_declared(
    look: Look, unique: str, limited: Limited
) -> None:
    """Each missing right to configure is reported before the first start, and nothing is declared."""
    report = look(AMQP_URL=limited("^$", ".*", ".*"))

    names = {each.text for each in report.bad if each.what == "right to configure"}
    assert f"the user may not configure queue {unique}" in names
    assert f"the user may not configure exchange {unique}.backups" in names
    report.one("broker", "warning", "topology", f"missing: {unique}.snapshots")


def test_missing_rights_to_read_the_queue_and_to_publish_delays_are_bad(
    look: Look, unique: str, limited: Limited
) -> None:
    """Consuming the queue, and publishing to the default exchange, need rights of their own."""
    look(declare=True)

    report = look(AMQP_URL=limited(".*", f"{unique}.*", f"{unique}.(snapshots|dead)"))

    report.one("broker", "bad", "right to read", f"queue {unique}")
    report.one("broker", "bad", "right to write", "amq.default")


def test_a_missing_foreign_exchange_is_bad(look: Look, unique: str) -> None:
    """A missing exchange of SNAPSHOT_BINDINGS is reported, and the doctor does not declare it."""
    report = look(SNAPSHOT_BINDINGS=f"{unique}.openstack:notifications.info")

    report.one("broker", "bad", f"exchange {unique}.openstack", "does not exist", "SNAPSHOT_BINDINGS")
    look().one("broker", "bad", f"exchange {unique}.openstack", "does not exist")


def test_declare_binds_foreign_exchanges_and_names_what_it_could_not_bind(
    look: Look, own_broker: RabbitProcess, unique: str, limited: Limited
) -> None:
    """An existing exchange is bound; one that is missing, or may not be read, is bad."""
    bindings = f"{unique}.there:one,{unique}.none:two,{unique}.secret:three"
    with channel(own_broker) as other:
        for name in ("there", "secret"):
            other.exchange_declare(f"{unique}.{name}", "topic", durable=True)
        user = limited(".*", ".*", rf"^{unique}(?!\.secret)")

        report = look(declare=True, AMQP_URL=user, SNAPSHOT_BINDINGS=bindings)

        other.confirm_delivery()
        other.basic_publish(f"{unique}.there", "one", b"{}", mandatory=True)
    report.one("broker", "ok", "declare")
    report.one("broker", "ok", f"exchange {unique}.there", "bound now")
    report.one("broker", "bad", f"exchange {unique}.none", "does not exist")
    report.one("broker", "bad", f"binding {unique}.secret", "may not read", "lost")


def test_foreign_exchanges_of_unsuitable_kinds_are_reported(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """A headers exchange is bad, since it has no routing keys; one that is not durable is a warning."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.h", "headers", durable=True)
        other.exchange_declare(f"{unique}.t", "topic", durable=False, auto_delete=True)
        report = look(SNAPSHOT_BINDINGS=f"{unique}.h:a,{unique}.t:b")
        other.exchange_declare(f"{unique}.t", passive=True)

    report.one("broker", "bad", f"exchange {unique}.h", "headers")
    report.one("broker", "warning", f"exchange {unique}.t", "not durable")


def test_a_missing_binding_is_made_by_declare(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """AMQP cannot list bindings, so the doctor says which command makes them; --declare makes them."""
    look(declare=True)
    with channel(own_broker) as other:
        other.exchange_unbind(unique, f"{unique}.snapshots", "snapshot.completed")
        look().one("broker", "ok", "bindings", "doctor --declare")

        look(declare=True).one("broker", "ok", "declare", "binding of this program exists now")
        other.confirm_delivery()
        other.basic_publish(f"{unique}.snapshots", "snapshot.completed", b"{}", mandatory=True)


def test_messages_and_consumers_of_the_queues_are_reported(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """Dead letters and a queue without a consumer are warnings; a consumer of a wait queue is bad."""
    look(declare=True)
    with channel(own_broker) as other:
        other.confirm_delivery()
        for queue in (unique, f"{unique}.dead", f"{unique}.wait.30s"):
            other.basic_publish("", queue, b"{}")
        other.basic_qos(prefetch_count=1)
        other.basic_consume(f"{unique}.wait.5s", lambda *_: None)
        report = look()

    report.one("broker", "warning", f"dead letters {unique}.dead", "1 message", "dead-letters list")
    report.one("broker", "warning", f"queue {unique}", "start a worker")
    report.one("broker", "ok", "wait queues", "1 for 30s")
    report.one("broker", "bad", f"queue {unique}.wait.5s", "end the program that consumes it")


def test_the_doctor_changes_nothing_and_publishes_nothing(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """The doctor publishes and fetches no message, and a missing topology stays missing."""
    look().one("broker", "warning", "topology", f"{unique}.wait.5s")
    look().one("broker", "warning", "topology", f"{unique}.wait.5s")
    look(declare=True)
    with channel(own_broker) as other:
        queue = other.queue_declare("", exclusive=True).method.queue
        for exchange in (f"{unique}.snapshots", f"{unique}.backups"):
            other.queue_bind(queue, exchange, "#")
        other.confirm_delivery()
        other.basic_publish("", unique, b"{}")

        look()

        assert 0 == other.queue_declare(queue, passive=True).method.message_count
        _, _, body = other.basic_get(unique)
    assert b"{}" == body


def test_a_broker_that_never_answers_does_not_block_the_doctor(look: Look) -> None:
    """The broker's checks end at their time limit, and the findings of other areas are kept."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        report = look(limit=1.0, AMQP_URL=f"amqp://guest:guest@127.0.0.1:{port}/")

    report.one("broker", "bad", "no answer within 1 s")
    report.one("api", "ok", "list of backups")
