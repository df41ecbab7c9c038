"""RabbitMQ in a container, where an engine answers and has, or can get, the image."""

import contextlib
import logging
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docker.client import DockerClient as Engine
from docker.errors import DockerException, ImageNotFound
from pika.exceptions import AMQPError
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient, get_docker_host

from infra.local.guardian import Guardian
from infra.local.ready import BrokerUnavailable, server_version, wait_until

log = logging.getLogger(__name__)

IMAGE: Final = "rabbitmq:4.0.5"
LOCAL_ENGINE: Final = "unix:///var/run/docker.sock"
AMQP_PORT: Final = 5672
START_SECONDS: Final = 60.0
PING_SECONDS: Final = 2  # an engine on this machine answers in milliseconds
PULL_SECONDS: Final = 20  # without a word from the engine, not for the whole download


@dataclass(frozen=True)
class ContainerBroker:
    """A broker in a container; it ends with the block that started it."""

    url: str
    kind: Final = "container"

    @property
    def version(self) -> str:
        """What the running server says of itself, like `RabbitMQ 4.0.5`."""
        return server_version(self.url)


def require_image(image: str = IMAGE) -> None:
    """Return once an engine has the image.

    Raises:
        BrokerUnavailable: no engine answers, or it cannot get the image; decided within seconds.
    """
    require_engine(get_docker_host() or LOCAL_ENGINE)
    try:
        with contextlib.closing(DockerClient(timeout=PING_SECONDS).client) as engine:
            engine.ping()
        with contextlib.closing(DockerClient(timeout=PULL_SECONDS).client) as engine:
            _get(engine, image)
    except (DockerException, OSError) as error:
        raise BrokerUnavailable(f"no container engine with {image}: {_first_line(error)}") from error


def require_engine(address: str) -> None:
    """Return if an engine on this machine listens; one elsewhere is found out by asking it.

    The client library leaves its socket open where nobody listens, so this looks first.

    Raises:
        BrokerUnavailable: nobody listens at `unix://…`.
    """
    if not address.startswith("unix://"):
        return
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(PING_SECONDS)
            engine.connect(address.removeprefix("unix://"))
    except OSError as error:
        raise BrokerUnavailable(f"no container engine at {address}: {error.strerror}") from error


@contextlib.contextmanager
def running_container(image: str = IMAGE) -> Iterator[ContainerBroker]:
    """A broker in a container for the time of the block.

    Raises:
        BrokerUnavailable: no engine, no image, or it did not start.
    """
    require_image(image)
    name = f"snapshot-backup-broker-{secrets.token_hex(4)}"
    container = DockerContainer(image).with_name(name).with_exposed_ports(AMQP_PORT)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_guarded(container, name))
            broker = ContainerBroker(_url(container))
        except Exception as error:  # whatever it is, there is another way to a broker
            raise BrokerUnavailable(f"the container did not start: {_first_line(error)}") from error
        if not wait_until(lambda: _lets_us_in(broker), seconds=START_SECONDS):
            raise BrokerUnavailable(f"the container lets nobody in after {START_SECONDS:.0f} s")
        yield broker


@contextlib.contextmanager
def _guarded(container: DockerContainer, name: str) -> Iterator[None]:
    """Start it; our guardian removes what a killed parent leaves.

    Testcontainers' own would be a second image to get, in a container that is handed the engine's socket.
    """
    testcontainers_config.ryuk_disabled = True
    guardian = Guardian(Path(tempfile.mkdtemp(prefix="snapshot-backup-broker-")))
    try:
        guardian.watch(name)
        with container:
            yield
        guardian.forget(name)
    finally:
        guardian.close()


def _url(container: DockerContainer) -> str:
    host, port = container.get_container_host_ip(), container.get_exposed_port(AMQP_PORT)
    return f"amqp://guest:guest@{host}:{port}/"


def _lets_us_in(broker: ContainerBroker) -> bool:
    try:
        return bool(broker.version)
    except (AMQPError, OSError):
        return False


def _get(engine: Engine, image: str) -> None:
    try:
        engine.images.get(image)
    except ImageNotFound:
        log.info("getting the image %s (once)", image)
        engine.images.pull(image)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
