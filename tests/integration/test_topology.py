"""``topology declare`` declares everything that it prints, or says what it could not declare and why.

Danger: a binding to a foreign exchange is missing, and events published there are lost without a trace.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError
from typer.testing import CliRunner, Result

from handler.cli import app
from infra.local.server import RabbitProcess

pytestmark = pytest.mark.broker


@contextmanager
def channel(broker: RabbitProcess) -> Iterator[BlockingChannel]:
    """Open another program's channel in confirm mode, which reports unroutable messages."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened


@pytest.fixture
def settings(own_broker: RabbitProcess, unique: str) -> dict[str, str]:
    """Return settings with unique names, and with three bindings to two foreign exchanges."""
    return {
        "AMQP_URL": own_broker.url,
        "SNAPSHOT_EXCHANGE": f"{unique}.in",
        "SNAPSHOT_QUEUE": unique,
        "RESULT_EXCHANGE": f"{unique}.out",
        "WAIT_LADDER": "5",
        "SNAPSHOT_BINDINGS": f"{unique}.a:one,{unique}.b:two,{unique}.a:three",
    }


def topology(settings: dict[str, str], *arguments: str) -> Result:
    """Run ``snapshot-backup topology …``."""
    return CliRunner().invoke(app, ["topology", *arguments], env=settings)


def routed(channel: BlockingChannel, exchange: str, key: str) -> bool:
    """Return whether a message published there reaches a queue."""
    try:
        channel.basic_publish(exchange, key, b"{}", mandatory=True)
    except UnroutableError:
        return False
    return True


def unmade(document: Any) -> dict[str, str]:
    """Return the parts that were not made, with the reasons."""
    return {
        each.get("source") or each["name"]: each["problem"]
        for kind in ("exchanges", "queues", "bindings")
        for each in document[kind]
        if not each["made"]
    }


def test_every_binding_that_is_printed_is_made(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str
) -> None:
    """After ``declare``, an event of each foreign binding reaches the queue."""
    with channel(own_broker) as other:
        for name in ("a", "b"):
            other.exchange_declare(f"{unique}.{name}", "topic")

        done = topology(settings, "declare", "--json")

        assert (0, "") == (done.exit_code, done.stderr)
        document = json.loads(done.stdout)
        assert {} == unmade(document)
        bindings = [each for each in document["bindings"] if each["to_exchange"]]
        assert [False, True, True, True] == [each["foreign"] for each in bindings]
        assert all(routed(other, each["source"], each["routing_key"]) for each in bindings)


@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
def test_a_queue_for_outcomes_is_made_and_a_repeat_changes_nothing(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str, queue_type: str
) -> None:
    """An outcome reaches the queue after ``declare --outcomes-queue``, and still after the second run."""
    settings |= {"SNAPSHOT_BINDINGS": "", "QUEUE_TYPE": queue_type}
    name = f"{unique}.outcomes"
    with channel(own_broker) as other:
        for count in (1, 2):
            done = topology(settings, "declare", "--outcomes-queue", name)
            assert (0, "") == (done.exit_code, done.stderr)
            assert routed(other, f"{unique}.out", "backup.skipped")
            assert not routed(other, f"{unique}.out", "another.event")
            assert count == other.queue_declare(name, passive=True).method.message_count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"durable": False}, "durable is false, not true"),
        ({"durable": True, "arguments": {"x-queue-type": "stream"}}, "x-queue-type is stream, not quorum"),
        ({"durable": True, "arguments": {"x-max-length": 5}}, "x-max-length is 5, not none"),
        ({"exclusive": True}, "exclusive access to locked queue"),
    ],
)
def test_another_queue_of_that_name_is_refused_and_the_rest_is_made(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str, arguments: dict[str, Any], words: str
) -> None:
    """A queue with other arguments is named in one line with what to do, and everything else exists."""
    settings |= {"SNAPSHOT_BINDINGS": ""}
    name = f"{unique}.outcomes"
    with channel(own_broker) as other:
        other.queue_declare(name, **arguments)

        done = topology(settings, "declare", "--outcomes-queue", name)

        [line] = done.stderr.splitlines()
        assert (1, True, True) == (done.exit_code, words in line, "another name" in line)
        assert routed(other, f"{unique}.in", "snapshot.completed")
        other.queue_delete(name)


def test_a_missing_exchange_is_named_and_the_others_are_bound(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str
) -> None:
    """An error line names the binding and the missing exchange; the exit code is 1."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.a", "topic")

        done = topology(settings, "declare")

        assert 1 == done.exit_code
        [line] = done.stderr.splitlines()
        assert line.startswith(
            f"not bound: {unique}.b → {unique} for two: the exchange {unique}.b does not exist; "
        )
        assert all(routed(other, f"{unique}.a", key) for key in ("one", "three"))
        assert routed(other, f"{unique}.in", "snapshot.completed")


def test_the_document_says_of_each_part_whether_it_was_made(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str
) -> None:
    """The JSON document says which binding is missing and why; the exit code is 1."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.a", "topic")

        done = topology(settings, "declare", "--json")

    document = json.loads(done.stdout)
    assert 1 == done.exit_code
    assert {f"{unique}.b": f"the exchange {unique}.b does not exist"} == unmade(document)
    assert 4 == sum(each["made"] for each in document["exchanges"])


def test_a_foreign_exchange_is_neither_declared_nor_changed(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str
) -> None:
    """An existing foreign exchange stays unchanged, and a missing one is not declared."""
    with channel(own_broker) as other:
        other.exchange_declare(f"{unique}.a", "direct", durable=False, auto_delete=True)

        topology(settings, "declare")

        other.exchange_declare(f"{unique}.a", "direct", durable=False, auto_delete=True)
        with pytest.raises(ChannelClosedByBroker) as missing:
            other.exchange_declare(f"{unique}.b", passive=True)
        assert 404 == missing.value.reply_code


def test_an_exchange_that_the_user_may_not_read_is_named(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str
) -> None:
    """An exchange without the right to read is named, and the others are bound."""
    user = f"u{secrets.token_hex(4)}"
    own_broker.ctl("add_user", user, user)
    own_broker.ctl("set_permissions", user, f"^{unique}", f"^{unique}", rf"^{unique}(?!\.b)")
    limited = settings | {"AMQP_URL": own_broker.url.replace("guest:guest", f"{user}:{user}")}
    with channel(own_broker) as other:
        for name in ("a", "b"):
            other.exchange_declare(f"{unique}.{name}", "topic")

        done = topology(limited, "declare")

        assert 1 == done.exit_code
        [line] = done.stderr.splitlines()
        assert f"{unique}.b → {unique} for two: the user may not read exchange {unique}.b; " in line
        assert routed(other, f"{unique}.a", "three")


def test_a_refused_queue_ends_the_declaration(
    settings: dict[str, str], own_broker: RabbitProcess, unique: str
) -> None:
    """If a queue would lose messages, nothing is bound; the document says what was made before."""
    with channel(own_broker) as other:
        other.queue_declare(unique, durable=True)
        other.exchange_declare(f"{unique}.a", "topic")

        done = topology(settings, "declare", "--json")

        assert not routed(other, f"{unique}.a", "one")
    assert 1 == done.exit_code
    [line] = done.stderr.splitlines()
    assert line.startswith("failed: QUEUE_TYPE, SNAPSHOT_QUEUE: ")
    document = json.loads(done.stdout)
    problems = {each["name"]: each["problem"] for each in document["queues"]}
    assert "exists with other arguments" in problems[unique]
    assert "not tried" in problems[f"{unique}.dead"]
    assert all(each["made"] for each in document["exchanges"])
    assert not any(each["made"] for each in document["bindings"])
