"""The commands ``doctor``, ``watch`` and ``schemas``, run as child processes."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from events import examples, schemas
from infra.local.broker import Broker
from infra.local.ready import wait_until
from tests.piped import Piped, popen

SECONDS = 30.0


def start(*arguments: str, **settings: str) -> Piped:
    """Start the console command."""
    return popen(*arguments, environment={**os.environ, **settings})


def done(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run the command to its end, and return exit code, standard output and standard error."""
    with start(*arguments, **settings) as process:
        out, error = process.communicate(timeout=SECONDS)
    return process.wait(), out, error


@pytest.fixture
def outcomes(broker: Broker, unique: str) -> Iterator[BlockingChannel]:
    """Declare the result exchange of the test, and yield a channel in confirm mode."""
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(unique, "topic", durable=True)
        channel.confirm_delivery()
        yield channel
        channel.exchange_delete(unique)


def publish_examples(channel: BlockingChannel, exchange: str) -> None:
    """Wait until a queue is bound, and publish each example outcome once."""

    def routed() -> bool:
        try:
            channel.basic_publish(exchange, "backup.completed", body("backup.completed"), mandatory=True)
        except pika.exceptions.UnroutableError:
            return False
        return True

    assert wait_until(routed, seconds=SECONDS)
    for type_ in examples.OUTCOME_EVENTS:
        if type_ != "backup.completed":
            channel.basic_publish(exchange, type_, body(type_), mandatory=True)


def body(type_: str) -> bytes:
    """Return the example outcome of a type, as it is published."""
    return json.dumps(examples.OUTCOME_EVENTS[type_]).encode()


def test_watch_prints_each_outcome_as_it_was_published(
    outcomes: BlockingChannel, broker: Broker, unique: str
) -> None:
    """``watch --json`` prints one line for each outcome, and ends after --count."""
    count = len(examples.OUTCOME_EVENTS)
    with start(
        "watch", "--json", "--count", str(count), AMQP_URL=broker.url, RESULT_EXCHANGE=unique
    ) as process:
        publish_examples(outcomes, unique)
        out, error = process.communicate(timeout=SECONDS)

    assert (0, "") == (process.returncode, error)
    assert examples.OUTCOME_EVENTS == {event["type"]: event for event in map(json.loads, out.splitlines())}


def test_watch_shows_lines_for_people_until_ctrl_c(
    outcomes: BlockingChannel, broker: Broker, unique: str
) -> None:
    """``watch`` prints time, type and snapshot of each outcome; Ctrl-C exits with 0."""
    with start("watch", AMQP_URL=broker.url, RESULT_EXCHANGE=unique) as process:
        publish_examples(outcomes, unique)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in examples.OUTCOME_EVENTS]
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=SECONDS)

    assert (0, "") == (process.returncode, error)
    for type_ in examples.OUTCOME_EVENTS:
        assert any(re.match(rf"\d\d:\d\d:\d\d {re.escape(type_)} ", line) for line in lines), lines


def test_watch_without_a_result_exchange_is_an_error(broker: Broker, unique: str) -> None:
    """``watch`` does not wait for an exchange that does not exist; it names it and exits with 1."""
    code, _, error = done("watch", AMQP_URL=broker.url, RESULT_EXCHANGE=unique)

    assert 1 == code
    assert f"no exchange '{unique}'" in error


def test_schemas_writes_every_document(tmp_path: Path) -> None:
    """``schemas`` writes all documents, and prints their paths."""
    code, out, _ = done("schemas", "--out", str(tmp_path / "new"), "--json")

    assert 0 == code
    assert [str(tmp_path / "new" / name) for name in schemas.documents()] == json.loads(out)["files"]
    assert {*schemas.documents()} == {path.name for path in (tmp_path / "new").iterdir()}


def test_schemas_into_an_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    """If --out is an existing file, ``schemas`` prints one line and exits with 1."""
    (tmp_path / "file").touch()

    code, _, error = done("schemas", "--out", str(tmp_path / "file"))

    assert 1 == code
    assert 1 == len(error.splitlines())


def test_doctor_prints_a_table_of_100_columns_and_its_exit_code(tmp_path: Path) -> None:
    """The table needs no colour: each state is a word, each remedy has an arrow."""
    code, out, error = done(
        "doctor",
        AMQP_URL="amqp://guest:s3cr3t@127.0.0.1:1/",
        VBS_ENDPOINT="http://127.0.0.1:1",
        LEDGER_URL=f"sqlite:///{tmp_path}/l.db",
    )

    assert (1, "") == (code, error)
    assert max(map(len, out.splitlines())) <= 100
    assert re.search(r"broker +127\.0\.0\.1:1 +bad +connection refused", out), out
    assert "→ AMQP_URL: check host and port" in out
    assert "s3cr3t" not in out


def test_doctor_with_unusable_settings_is_exit_2() -> None:
    """The JSON document has the bad setting and the exit code 2."""
    code, out, _ = done("doctor", "--json", WAIT_LADDER="nonsense")

    document = json.loads(out)
    assert (2, 2) == (code, document["exit"])
    assert [("settings", "WAIT_LADDER")] == [
        (each["area"], each["what"]) for each in document["findings"] if each["state"] == "bad"
    ]


def test_a_worker_without_a_broker_does_not_say_that_it_consumes(tmp_path: Path) -> None:
    """The log says ``consuming`` only once the broker has confirmed it."""
    settings = {
        "AMQP_URL": "amqp://127.0.0.1:1",
        "VBS_ENDPOINT": "http://127.0.0.1:1",
        "LEDGER_URL": f"sqlite:///{tmp_path}/l.db",
    }
    with start("worker", **settings) as process:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if "broker.lost" in line:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)

    assert "worker.started" in lines[0]
    assert [] == [line for line in lines if "consuming" in line]
