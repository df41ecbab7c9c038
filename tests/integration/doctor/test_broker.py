"""Faults planted at a real broker, each named with its remedy."""

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
    """A channel of somebody else's."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        yield connection.channel()


def arguments(unique: str) -> dict[str, Any]:
    """What our queue is declared with."""
    topology = Topology(unique, f"{unique}.snapshots", f"{unique}.backups", (5, 30))
    return next(topology.queues()).arguments


Limited = Callable[[str, str, str], str]


@pytest.fixture
def limited(own_broker: RabbitProcess) -> Limited:
    """Make a user with only these rights; return their URL."""

    def make(configure: str, write: str, read: str) -> str:
        user = f"u{secrets.token_hex(4)}"
        own_broker.ctl("add_user", user, user)
        own_broker.ctl("set_permissions", "-p", "/", user, configure, write, read)
        return own_broker.url.replace("guest:guest", f"{user}:{user}")

    return make


def test_all_is_well_with_what_declare_made(look: Look) -> None:
    """Where everything is in place, nothing is bad, and there is nothing to warn of at the broker."""
    look(declare=True)

    report = look()

    assert 0 == report.exit
    assert {"ok"} == {each.state for each in report.findings if each.area == "broker"}


def test_a_wrong_password(look: Look, own_broker: RabbitProcess) -> None:
    """A refused login names AMQP_URL, and never the password."""
    report = look(AMQP_URL=own_broker.url.replace("guest:guest", "guest:s3cr3t"))

    found = report.one("broker", "bad", "refused user and password", "AMQP_URL")
    assert 1 == report.exit
    assert "s3cr3t" not in f"{found}"


def test_an_unknown_virtual_host(look: Look, own_broker: RabbitProcess) -> None:
    """A virtual host that is not there is told from one that may not be used."""
    look(AMQP_URL=f"{own_broker.url}nowhere").one("broker", "bad", "virtual host does not exist", "AMQP_URL")


def test_a_virtual_host_that_may_not_be_used(look: Look, own_broker: RabbitProcess) -> None:
    """A user without any rights in the virtual host is told how to get them."""
    own_broker.ctl("add_user", "nobody", "nobody")

    report = look(AMQP_URL=own_broker.url.replace("guest:guest", "nobody:nobody"))

    report.one("broker", "bad", "may not use this virtual host", "set_permissions")


def test_a_wrong_port(look: Look) -> None:
    """Where nobody listens, the rest is still looked at."""
    report = look(AMQP_URL=f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/")

    report.one("broker", "bad", "no program listens", "AMQP_URL")
    report.one("api", "ok", "list of backups")


def test_one_broken_node_of_a_cluster_is_a_warning(look: Look, own_broker: RabbitProcess) -> None:
    """A worker gets along with the other node."""
    report = look(AMQP_URL=f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/,{own_broker.url}")

    report.one("broker", "warning", "no program listens")
    assert 0 == report.exit


def test_a_broker_over_tls_whose_authority_is_known(
    look: Look, own_broker: RabbitProcess, tmp_path: Path
) -> None:
    """With AMQP_CA_FILE the connection is made and checked."""
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_front(own_broker.port, certificate) as port:
        report = look(
            AMQP_URL=f"amqps://guest:guest@127.0.0.1:{port}/", AMQP_CA_FILE=str(certificate.certificate)
        )

    report.one("broker", "ok", "over TLS")


def test_a_tls_certificate_for_another_name(look: Look, own_broker: RabbitProcess, tmp_path: Path) -> None:
    """A certificate for another name is told from one of an unknown authority."""
    certificate = make_certificate(tmp_path, "DNS:broker.example.com")
    with tls_front(own_broker.port, certificate) as port:
        report = look(
            AMQP_URL=f"amqps://guest:guest@127.0.0.1:{port}/", AMQP_CA_FILE=str(certificate.certificate)
        )

    report.one("broker", "bad", "for another name", "AMQP_URL")


def test_a_tls_certificate_of_an_unknown_authority(
    look: Look, own_broker: RabbitProcess, tmp_path: Path
) -> None:
    """An authority that nobody named as trusted names AMQP_CA_FILE."""
    with tls_front(own_broker.port, make_certificate(tmp_path, "IP:127.0.0.1")) as port:
        report = look(AMQP_URL=f"amqps://guest:guest@127.0.0.1:{port}/")

    report.one("broker", "bad", "not signed by a trusted authority", "AMQP_CA_FILE")


def test_tls_spoken_to_a_port_without(look: Look, own_broker: RabbitProcess) -> None:
    """amqps:// to the plain port says so."""
    report = look(AMQP_URL=own_broker.url.replace("amqp:", "amqps:"))

    report.one("broker", "bad", "does not speak TLS", "AMQP_URL")


def test_a_queue_declared_classic_by_somebody_else(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """Its type is named, and both ways out: QUEUE_TYPE, or another queue."""
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=True)
        report = look()

    report.one(
        "broker", "bad", f"queue {unique}", "x-queue-type is classic, not quorum", "QUEUE_TYPE=classic"
    )
    assert 1 == report.exit


def test_a_queue_without_a_dead_letter_exchange(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """What is rejected would vanish."""
    wanted = {
        name: value for name, value in arguments(unique).items() if not name.startswith("x-dead-letter")
    }
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=True, arguments=wanted)
        report = look()

    report.one("broker", "bad", f"x-dead-letter-exchange is none, not {unique}.dead", "would vanish")


def test_a_queue_that_drops_on_overflow(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """All that differs is told at once, not one a run."""
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


def test_dead_letters_that_looking_could_drop(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """A queue of dead letters that was declared without a limit of its own has RabbitMQ 4's, which is 20."""
    look(declare=True)
    with channel(own_broker) as other:
        other.queue_delete(f"{unique}.dead")
        other.queue_declare(f"{unique}.dead", durable=True, arguments={"x-queue-type": "quorum"})
        report = look()

    report.one("broker", "bad", f"queue {unique}.dead", "x-delivery-limit is none, not 1000000000", "delete")


def test_a_queue_that_is_not_durable(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """A restart of the broker would lose it."""
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=False)
        report = look()
        other.queue_delete(unique)

    report.one("broker", "bad", "durable is false, not true", "a restart of the broker would lose it")


def test_a_queue_that_is_another_connection_s_alone(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """An exclusive queue of our name belongs to a program that must end."""
    with channel(own_broker) as other:
        other.queue_declare(unique, exclusive=True)
        report = look()

    report.one("broker", "bad", f"queue {unique}", "end the program that holds it")


def test_an_exchange_of_another_type(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """A result exchange that is fanout would tell everything to everybody."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.backups", "fanout", durable=True)
        report = look()

    report.one("broker", "bad", "type is fanout, not topic", "RESULT_EXCHANGE")


def test_no_right_to_write_to_the_result_exchange(look: Look, unique: str, limited: Limited) -> None:
    """The exchange is named, and the right."""
    look(declare=True)

    report = look(AMQP_URL=limited(".*", rf"^({unique}|.*\.dead|amq\.default)$", ".*"))

    report.one("broker", "bad", "right to write", f"exchange {unique}.backups", "WRITE")


def test_no_right_to_configure_is_seen_before_anything_is_there(
    look: Look, unique: str, limited: Limited
) -> None:
    """A first start that would fail is foretold, thing by thing, and nothing is made by asking."""
    report = look(AMQP_URL=limited("^$", ".*", ".*"))

    names = {each.text for each in report.bad if each.what == "right to configure"}
    assert f"the user may not configure queue {unique}" in names
    assert f"the user may not configure exchange {unique}.backups" in names
    report.one("broker", "warning", "topology", f"missing: {unique}.snapshots")


def test_no_right_to_read_the_queue_nor_to_fill_wait_queues(
    look: Look, unique: str, limited: Limited
) -> None:
    """Consuming, and the default exchange by which messages come to wait, want rights of their own."""
    look(declare=True)

    report = look(AMQP_URL=limited(".*", f"{unique}.*", f"{unique}.(snapshots|dead)"))

    report.one("broker", "bad", "right to read", f"queue {unique}")
    report.one("broker", "bad", "right to write", "amq.default")


def test_a_foreign_exchange_that_is_missing(look: Look, unique: str) -> None:
    """SNAPSHOT_BINDINGS names what nobody has declared, and nobody declares it by looking."""
    report = look(SNAPSHOT_BINDINGS=f"{unique}.openstack:notifications.info")

    report.one("broker", "bad", f"exchange {unique}.openstack", "does not exist", "SNAPSHOT_BINDINGS")
    look().one("broker", "bad", f"exchange {unique}.openstack", "does not exist")


def test_declare_binds_foreign_exchanges_and_names_what_it_could_not_bind(
    look: Look, own_broker: RabbitProcess, unique: str, limited: Limited
) -> None:
    """One that is there is bound at once; one that is not there, or must not be read, is told as bad."""
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


def test_foreign_exchanges_that_route_nothing_or_vanish(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """A headers exchange has no routing keys; one that is not durable goes with a restart."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.h", "headers", durable=True)
        other.exchange_declare(f"{unique}.t", "topic", durable=False, auto_delete=True)
        report = look(SNAPSHOT_BINDINGS=f"{unique}.h:a,{unique}.t:b")
        other.exchange_declare(f"{unique}.t", passive=True)

    report.one("broker", "bad", f"exchange {unique}.h", "headers")
    report.one("broker", "warning", f"exchange {unique}.t", "not durable")


def test_a_missing_binding_is_made_by_declare(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """AMQP shows no bindings, so the doctor says who makes them, and makes them where it is asked to."""
    look(declare=True)
    with channel(own_broker) as other:
        other.exchange_unbind(unique, f"{unique}.snapshots", "snapshot.completed")
        look().one("broker", "ok", "bindings", "doctor --declare")

        look(declare=True).one("broker", "ok", "declare", "binding of this program exists now")
        other.confirm_delivery()
        other.basic_publish(f"{unique}.snapshots", "snapshot.completed", b"{}", mandatory=True)


def test_what_waits_and_what_is_dead(look: Look, own_broker: RabbitProcess, unique: str) -> None:
    """Dead letters are a warning, a queue that nobody works on too; who consumes a wait queue does harm."""
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


def test_looking_changes_nothing_and_nobody_hears_of_it(
    look: Look, own_broker: RabbitProcess, unique: str
) -> None:
    """No message reaches any queue, none is fetched, and a topology that is missing stays missing."""
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


def test_a_broker_that_never_answers_does_not_hold_the_doctor(look: Look) -> None:
    """Each area has its time; what was found elsewhere counts."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        report = look(limit=1.0, AMQP_URL=f"amqp://guest:guest@127.0.0.1:{port}/")

    report.one("broker", "bad", "no answer within 1 s")
    report.one("api", "ok", "list of backups")
