"""Which broker a checkout takes: the one given, else a container, else a process of its own."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.local import container
from infra.local.broker import Broker, Start, running_broker
from infra.local.container import require_engine, require_image
from infra.local.ready import BrokerUnavailable


@dataclass
class Way:
    """A way to a broker that starts and stops like a real one, without a server behind it."""

    kind: str
    works: bool = True
    version: str = "RabbitMQ 0"
    url: str = "amqp://nowhere/"
    story: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def start(self) -> Iterator[Broker]:
        """Start, if it works here at all, and stop after the block."""
        self.story.append("asked")
        if not self.works:
            raise BrokerUnavailable(f"no {self.kind} here")
        try:
            yield self
        finally:
            self.story.append("stopped")


def _ways(*ways: Way) -> tuple[Start, ...]:
    return tuple(way.start for way in ways)


@pytest.fixture
def silent_engine() -> Iterator[str]:
    """Address of an engine that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield "tcp://{}:{}".format(*listener.getsockname())


def test_a_container_comes_before_a_process() -> None:
    """The second way is not even tried where the first works."""
    first, second = Way("container"), Way("process")

    with running_broker(own=_ways(first, second)) as broker:
        assert "container" == broker.kind

    assert [] == second.story


def test_a_process_is_taken_where_no_container_can_be_had() -> None:
    """A way that does not work here gives way to the next."""
    with running_broker(own=_ways(Way("container", works=False), Way("process"))) as broker:
        assert "process" == broker.kind


def test_what_was_started_is_stopped_after_a_failure() -> None:
    """An exception in the block ends the broker too."""
    way = Way("process")

    with pytest.raises(ZeroDivisionError), running_broker(own=_ways(way)):
        _ = 1 / 0

    assert ["asked", "stopped"] == way.story


def test_the_message_has_every_way_s_reason() -> None:
    """Where none can be had the person learns why, for each."""
    ways = _ways(Way("container", works=False), Way("process", works=False))

    with (
        pytest.raises(BrokerUnavailable, match="no container here; no process here"),
        running_broker(own=ways),
    ):
        pass


def test_a_given_broker_is_never_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where AMQP_URL is set and nobody answers, that is told, and nothing is started instead."""
    way = Way("process")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("AMQP_URL", f"amqp://user:sesame@127.0.0.1:{port}/")

    with pytest.raises(BrokerUnavailable, match="AMQP_URL") as caught, running_broker(own=_ways(way)):
        pass

    assert [] == way.story
    assert "sesame" not in str(caught.value)


def test_no_engine_is_told_at_once(tmp_path: Path) -> None:
    """Nobody listens at the engine's socket."""
    with pytest.raises(BrokerUnavailable, match="no container engine"):
        require_engine(f"unix://{tmp_path}/docker.sock")


def test_an_engine_that_never_answers_is_given_up(
    silent_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging engine costs its ping's timeout, not the user's morning."""
    monkeypatch.setenv("DOCKER_HOST", silent_engine)
    monkeypatch.setattr(container, "PING_SECONDS", 0.2)
    start = time.monotonic()

    with pytest.raises(BrokerUnavailable, match="no container engine"):
        require_image()

    assert time.monotonic() - start < 5
