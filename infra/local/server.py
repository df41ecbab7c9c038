"""A private `rabbitmq-server` process on loopback, with its own ports, data and port mapper."""

import contextlib
import logging
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from infra.local.guardian import Guardian
from infra.local.programs import Programs, ensure_programs
from infra.local.ready import BrokerUnavailable, server_version, speaks_amqp, wait_until

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
NODE: Final = "snapshot-backup@localhost"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
REGISTER_SECONDS: Final = 10.0
START_ATTEMPTS: Final = 3  # another program may take a port after we found it free
LOG_TAIL: Final = 15

# Below the range that the kernel uses for outgoing connections (Linux: from 32768). So while the broker is
# down no other program gets its port, and a client that keeps connecting cannot connect to itself.
PORTS: Final = range(20_000, 32_000)

CONFIG: Final = """\
listeners.tcp.1 = {host}:{port}
# Works on small machines and nearly full disks: the data are deleted afterwards.
disk_free_limit.absolute = 50MB
"""

ERL_ARGUMENTS: Final = (
    "-start_epmd false -kernel inet_dist_use_interface {address} inet_dist_connect_options [{{ip,{address}}}]"
)

# Variables of another installation or of the shell must not reach this server.
FOREIGN_PREFIXES: Final = ("RABBITMQ_", "ERL_", "ELIXIR_")


class Member(NamedTuple):
    """A node's part in a cluster: its name, the nodes that it joins, and what all of them share."""

    node: str = NODE
    host: str = HOST
    """The address, of loopback, where it listens, and from which it connects to the others."""
    peers: Sequence[str] = ()
    cookie: str | None = None
    epmd_port: int | None = None
    """The port of a port mapper that runs already; None starts one."""
    settings: str = ""
    """More lines of ``rabbitmq.conf``."""
    advanced: str = ""
    """The Erlang terms of ``advanced.config``."""


class RabbitProcess:
    """A broker process that tests may kill; it keeps its data and port over a restart."""

    kind: Final = "process"

    def __init__(
        self, folder: Path, programs: Programs, guardian: Guardian, member: Member | None = None
    ) -> None:
        self._member = member or Member()
        self.host = self._member.host
        self.port, distribution_port, free_port = free_ports(3)
        self.epmd_port = self._member.epmd_port or free_port
        self.url = f"amqp://guest:guest@{self.host}:{self.port}/"
        self.folder = folder
        self._programs = programs
        self._guardian = guardian
        self._environment = _environment(folder, self._member, distribution_port, self.epmd_port)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        _write_files(folder, self.port, self._member)
        hosts = ",".join({HOST, *(peer.partition("@")[2] for peer in self._member.peers)} - {"localhost"})
        self._epmd_command = [programs.epmd, "-address", hosts, "-port", str(self.epmd_port)]

    @property
    def version(self) -> str:
        """Product and version that the server reports, such as `RabbitMQ 3.10.8`."""
        return server_version(self.url)

    @property
    def pid(self) -> int:
        """The Erlang machine's process id."""
        return int(self._pid_file.read_text())

    @property
    def epmd_pid(self) -> int | None:
        """The port mapper's process id; None before the first start."""
        return self._epmd.pid if self._epmd else None

    def start(self) -> None:
        """Start with the same port and data, and return when it accepts clients.

        Raises:
            BrokerUnavailable: it ended, or was not ready in time; the message has the end of its log.
        """
        self.start_epmd()
        self._pid_file.unlink(missing_ok=True)
        self._server = server = self._spawn([self._programs.server])
        wait_until(
            lambda: server.poll() is not None or speaks_amqp(self.host, self.port), seconds=START_SECONDS
        )
        if server.poll() is not None or not speaks_amqp(self.host, self.port):
            raise BrokerUnavailable(f"rabbitmq-server did not start:\n{self._log_tail()}")
        log.info("%s listens on %s:%d", self.version, self.host, self.port)

    def start_epmd(self) -> None:
        """Start the port mapper, unless it runs or is another node's."""
        if self._epmd is None and self._member.epmd_port is None:
            self._epmd = self._spawn(self._epmd_command)

    def wait_until_on_disk(self, *queues: str) -> None:
        """Return when these quorum queues of the virtual host `/` would survive a kill of the broker.

        RabbitMQ writes a new queue's entry in its register of queues about a second late (seen
        with 3.10.8). If it is killed before that, the queue never has a leader again, and its
        confirmed messages cannot be reached.

        Raises:
            TimeoutError: an entry is missing after ten seconds.
        """
        entries = [_register_entry(name) for name in queues]

        def all_written() -> bool:
            registers = self.folder.glob("data/*/quorum/*/names.dets")
            written = b"".join(register.read_bytes() for register in registers)
            return all(entry in written for entry in entries)

        if not wait_until(all_written, seconds=REGISTER_SECONDS):
            raise TimeoutError(f"not all on disk after {REGISTER_SECONDS:.0f} s: {', '.join(queues)}")

    def stop(self) -> None:
        """Stop it with SIGTERM; durable messages stay on disk."""
        if self._server is not None:
            self._server.terminate()
            self._ended(self._server)
            self._server = None

    def kill(self) -> None:
        """Kill it with SIGKILL, as in a power failure."""
        if self._server is not None:
            # Kill Erlang first: its start script then ends by itself. Before Erlang has written its process
            # id only the whole group can be killed.
            with contextlib.suppress(ProcessLookupError):
                if self._pid_file.exists():
                    os.kill(self.pid, signal.SIGKILL)
                else:
                    os.killpg(self._server.pid, signal.SIGKILL)
            self._ended(self._server)
            self._server = None

    def restart(self) -> None:
        """Stop it with SIGTERM and start it again."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this server, which takes about a second, and return its output.

        Raises:
            subprocess.CalledProcessError: the command failed.
        """
        command = [self._programs.ctl, "--quiet", "--node", self._member.node, *arguments]
        done = subprocess.run(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def close(self) -> None:
        """Kill server and port mapper; the data are deleted anyway."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._ended(self._epmd)
            self._epmd = None

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pid"

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as output:
            return subprocess.Popen(
                self._guardian.announced(command),
                env=self._environment,
                cwd=self.folder,
                stdin=self._guardian.pipe,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must not reach it: a draining worker needs the broker
            )

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        process.wait(STOP_SECONDS)
        self._guardian.forget(process.pid)

    def _log_tail(self) -> str:
        lines = (self.folder / "output.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL:])


@contextlib.contextmanager
def running_server() -> Iterator[RabbitProcess]:
    """Run a private server for the duration of the block; it is installed first if it is missing.

    Raises:
        BrokerUnavailable: it cannot be installed or started.
    """
    programs = ensure_programs()
    with contextlib.ExitStack() as stack:
        server = _started(stack, programs)
        stack.callback(server.close)
        yield server


def _started(stack: contextlib.ExitStack, programs: Programs) -> RabbitProcess:
    for attempt in range(1, START_ATTEMPTS + 1):
        folder = Path(tempfile.mkdtemp(prefix="snapshot-backup-broker-"))
        guardian = Guardian(folder)
        stack.callback(guardian.close)
        server = RabbitProcess(folder, programs, guardian)
        try:
            server.start()
        except BrokerUnavailable as error:
            server.close()
            if attempt == START_ATTEMPTS:
                raise
            log.warning("start attempt %d of %d failed, trying again: %s", attempt, START_ATTEMPTS, error)
        except BaseException:
            server.close()
            raise
        else:
            return server
    raise AssertionError("the last attempt returns or raises")


def free_ports(count: int) -> list[int]:
    """Return this many different ports of loopback on which no program listens now."""
    with contextlib.ExitStack() as stack:
        return [_bind_free_port(stack) for _ in range(count)]


def _bind_free_port(stack: contextlib.ExitStack) -> int:
    for port in random.SystemRandom().sample(PORTS, k=100):
        listener = stack.enter_context(socket.socket())
        try:
            listener.bind((HOST, port))
        except OSError:
            continue
        return port
    raise BrokerUnavailable(f"none of 100 ports tried between {PORTS.start} and {PORTS.stop} is free")


def _register_entry(queue: str) -> bytes:
    """Return a queue's entry in the register: an Erlang atom, its length (one byte) first."""
    name = f"%2F_{queue}".encode()
    return bytes([len(name)]) + name


def _environment(folder: Path, member: Member, distribution_port: int, epmd_port: int) -> dict[str, str]:
    """Return every variable that the scripts would otherwise read from the machine's own installation."""
    address = "{" + member.host.replace(".", ",") + "}"
    outside = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_PREFIXES)}
    return outside | {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": member.node,
        "RABBITMQ_USE_LONGNAME": str(not member.node.endswith("@localhost")).lower(),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERL_ARGUMENTS.format(address=address),
        "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false",
    }


def _write_files(folder: Path, port: int, member: Member) -> None:
    (folder / "rabbitmq.conf").write_text(
        f"{CONFIG.format(host=member.host, port=port)}{_joining(member)}{member.settings}"
    )
    if member.advanced:
        (folder / "advanced.config").write_text(member.advanced)
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "rabbitmq-env.conf").write_text("")
    cookie = folder / ".erlang.cookie"
    cookie.write_text(member.cookie or secrets.token_hex(20))
    cookie.chmod(0o400)


def _joining(member: Member) -> str:
    """Return the lines by which a node joins the others at its first start."""
    if not member.peers:
        return ""
    lines = [
        f"cluster_formation.classic_config.nodes.{number} = {peer}"
        for number, peer in enumerate(member.peers, 1)
    ]
    return "\n".join(["cluster_formation.peer_discovery_backend = classic_config", *lines, ""])
