"""Unit tests of ``running_broker``: it uses the given broker, else a container, else a private process."""

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
from tests.patience import patient


@dataclass
class Way:
    """A stand-in for a way to start a broker, without a server behind it."""

    kind: str
    works: bool = True
    version: str = "RabbitMQ 0"
    url: str = "amqp://nowhere/"
    calls: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def start(self) -> Iterator[Broker]:
        """Start if ``works``, and stop after the block."""
        self.calls.append("start")
        if not self.works:
            raise BrokerUnavailable(f"no {self.kind} here")
        try:
            yield self
        finally:
            self.calls.append("stop")


def _ways(*ways: Way) -> tuple[Start, ...]:
    return tuple(way.start for way in ways)


@pytest.fixture
def silent_engine() -> Iterator[str]:
    """Yield the address of an engine that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield "tcp://{}:{}".format(*listener.getsockname())


def test_a_container_comes_before_a_process() -> None:
    """If a container can be started, no process is tried."""
    first, second = Way("container"), Way("process")

    with running_broker(own=_ways(first, second)) as broker:
        assert "container" == broker.kind

    assert [] == second.calls


def test_a_process_is_used_if_no_container_is_available() -> None:
    """If no container can be started, a process is."""
    with running_broker(own=_ways(Way("container", works=False), Way("process"))) as broker:
        assert "process" == broker.kind


def test_a_started_broker_is_stopped_after_a_failure() -> None:
    """An exception in the block stops the broker."""
    way = Way("process")

    with pytest.raises(ZeroDivisionError), running_broker(own=_ways(way)):
        _ = 1 / 0

    assert ["start", "stop"] == way.calls


def test_the_message_has_every_way_s_reason() -> None:
    """If no way works, the error has the reason of each."""
    ways = _ways(Way("container", works=False), Way("process", works=False))

    with (
        pytest.raises(BrokerUnavailable, match="no container here; no process here"),
        running_broker(own=ways),
    ):
        pass


def test_a_given_broker_is_never_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the broker of AMQP_URL does not answer, an error is raised, and no other broker is started."""
    way = Way("process")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("AMQP_URL", f"amqp://user:sesame@127.0.0.1:{port}/")

    with pytest.raises(BrokerUnavailable, match="AMQP_URL") as caught, running_broker(own=_ways(way)):
        pass

    assert [] == way.calls
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("guest", "must begin with amqp://"),
        ("amqp://user:se#same@127.0.0.1/", "%23"),
        ("amqp://127.0.0.1:port/", "port"),
        ("amqp://user:sesame@127.0.0.1:9/", "connection refused: no program listens on this port"),
    ],
)
def test_a_given_broker_that_cannot_be_used_is_one_line(url: str, said: str) -> None:
    """The error says what is wrong with AMQP_URL, as the program's commands do, and what else can be done."""
    with pytest.raises(BrokerUnavailable) as caught, running_broker(url, own=()):
        pass

    line = str(caught.value)
    assert [True, True, False] == [said in line, "unset AMQP_URL" in line, "\n" in line], line
    assert "same@" not in line


def test_a_missing_engine_raises_an_error(tmp_path: Path) -> None:
    """An error is raised at once if no engine listens on the socket."""
    with pytest.raises(BrokerUnavailable, match="no container engine"):
        require_engine(f"unix://{tmp_path}/docker.sock")


def test_an_engine_that_never_answers_raises_an_error(
    silent_engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that hangs costs only the timeout of a ping."""
    monkeypatch.setenv("DOCKER_HOST", silent_engine)
    monkeypatch.setattr(container, "PING_SECONDS", 0.2)
    start = time.monotonic()

    with pytest.raises(BrokerUnavailable, match="no container engine"):
        require_image()

    assert time.monotonic() - start < patient(5)
