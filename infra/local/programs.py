"""Finds RabbitMQ's programs on this machine, and installs them if they are missing."""

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.ready import BrokerUnavailable

log = logging.getLogger(__name__)

# Folders of PATH that are searched last: a distribution's scripts there switch to the user `rabbitmq`.
PACKAGED = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
FOLDERS = (
    "/usr/lib/rabbitmq/bin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
    "/opt/rabbitmq/sbin",
    "/usr/sbin",
)
APT_INSTALL = Path(__file__).with_name("apt-install.sh")
HOW_TO = (
    "Install RabbitMQ (Debian and Ubuntu: apt-get install rabbitmq-server; "
    "macOS: brew install rabbitmq; Fedora: dnf install rabbitmq-server), start a container engine, "
    "or set AMQP_URL to a running broker, for example amqp://guest:guest@localhost:5672/"
)


@dataclass(frozen=True)
class Programs:
    """Paths of the server's start script, the control tool and Erlang's port mapper."""

    server: str
    ctl: str
    epmd: str


def find_programs() -> Programs | None:
    """Return the programs, or None if one is missing. A release that was added to PATH goes first."""
    on_path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    chosen = [folder for folder in on_path if folder not in PACKAGED]
    path = os.pathsep.join((*chosen, *FOLDERS, *on_path))
    found = [shutil.which(name, path=path) for name in ("rabbitmq-server", "rabbitmqctl", "epmd")]
    server, ctl, epmd = found
    return Programs(server, ctl, epmd) if server and ctl and epmd else None


def install_programs() -> None:
    """Install RabbitMQ with apt-get, without starting its services.

    Raises:
        BrokerUnavailable: the installation failed; the message says how to install it by hand.
    """
    log.warning("rabbitmq-server is missing; installing it with apt-get (once)")
    done = subprocess.run(
        ["bash", str(APT_INSTALL), "rabbitmq-server"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BrokerUnavailable(f"RabbitMQ could not be installed: {reason}. {HOW_TO}")


def ensure_programs() -> Programs:
    """Return the programs, which are installed if they are missing.

    Raises:
        BrokerUnavailable: they cannot be installed.
    """
    programs = find_programs()
    if programs is None:
        install_programs()
        programs = find_programs()
    if programs is None:
        raise BrokerUnavailable(f"RabbitMQ was installed, but its programs are not found. {HOW_TO}")
    return programs
