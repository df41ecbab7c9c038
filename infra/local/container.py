"""RabbitMQ in a container, if a container engine answers and has the image or can pull it."""

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
PULL_SECONDS: Final = 20  # of silence from the engine, not for the whole download


@dataclass(frozen=True)
class ContainerBroker:
    """A broker in a container."""

    url: str
    kind: Final = "container"

    @property
    def version(self) -> str:
        """Product and version that the server reports, such as `RabbitMQ 4.0.5`."""
        return server_version(self.url)


def require_image(image: str = IMAGE) -> None:
    """Return when the container engine has the image.

    Raises:
        BrokerUnavailable: no engine answers, or it cannot pull the image; raised within seconds.
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
    """Return if an engine listens on a Unix socket; addresses of other kinds are not checked here.

    The client library leaks its socket if no engine listens, so this connects first.

    Raises:
        BrokerUnavailable: no engine listens at `unix://…`.
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
    """Run a broker in a container for the duration of the block.

    Raises:
        BrokerUnavailable: no engine answers, the image is missing, or the container did not start.
    """
    require_image(image)
    name = f"snapshot-backup-broker-{secrets.token_hex(4)}"
    container = DockerContainer(image).with_name(name).with_exposed_ports(AMQP_PORT)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_guarded(container, name))
            broker = ContainerBroker(_url(container))
        except Exception as error:  # after any error a private process is tried
            raise BrokerUnavailable(f"the container did not start: {_first_line(error)}") from error
        if not wait_until(lambda: _accepts_clients(broker), seconds=START_SECONDS):
            raise BrokerUnavailable(f"the container refuses clients after {START_SECONDS:.0f} s")
        yield broker


@contextlib.contextmanager
def _guarded(container: DockerContainer, name: str) -> Iterator[None]:
    """Start the container; the guardian removes it if this process is killed.

    Testcontainers has a helper for that, which needs a second image and the engine's socket.
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


def _accepts_clients(broker: ContainerBroker) -> bool:
    try:
        return bool(broker.version)
    except (AMQPError, OSError):
        return False


def _get(engine: Engine, image: str) -> None:
    try:
        engine.images.get(image)
    except ImageNotFound:
        log.info("pulling the image %s (once)", image)
        engine.images.pull(image)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
