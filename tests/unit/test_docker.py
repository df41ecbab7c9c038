"""The image and the compose file in infra/docker, compared with the program's settings and commands."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from handler.settings import Settings
from tests.settings_names import parse, program, unknown

TOP = Path(__file__).parents[2]
FOLDER = TOP / "infra" / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "snapshot-backup"}
COMMANDS = {"worker", "topology", "publish", "dead-letters", "doctor", "schemas", "package", "emulator"}


def _instructions() -> list[tuple[str, str]]:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(words[0], words[2]) for line in lines if (words := line.partition(" "))[0]]


INSTRUCTIONS = _instructions()
LAST_STAGE = INSTRUCTIONS[max(n for n, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


def _last(name: str) -> str:
    return [value for instruction, value in LAST_STAGE if instruction == name][-1]


def _environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in _last("ENV").split())


def test_the_image_does_not_run_as_root() -> None:
    """The image's user and group are numbers above the system's own, so that a cluster can check them."""
    uid, _, gid = _last("USER").partition(":")

    assert int(uid) >= 10000
    assert int(gid) >= 10000


def test_the_base_image_is_pinned_by_its_digest() -> None:
    """Both stages begin with the image of PYTHON_IMAGE, whose default names a digest."""
    (default,) = [value for name, value in INSTRUCTIONS if name == "ARG"]

    assert re.fullmatch(r"PYTHON_IMAGE=python:[\w.-]+@sha256:[0-9a-f]{64}", default)
    assert {value.split()[0] for name, value in INSTRUCTIONS if name == "FROM"} == {"${PYTHON_IMAGE}"}


def test_the_build_installs_nothing_without_a_hash() -> None:
    """pip installs locked packages by their hashes, and our own folder without any."""
    runs = [value for name, value in INSTRUCTIONS if name == "RUN"]
    commands = [words for run in runs for words in run.split(" && ") if words.startswith("pip install")]

    assert len(commands) == 2
    assert [] == [
        command
        for command in commands
        if "--require-hashes" not in command
        and not {"--no-deps", "--no-build-isolation"} <= {*command.split()}
    ]


def test_the_image_starts_the_worker_by_the_projects_command() -> None:
    """The image runs the console command with ``worker``, and without a shell, so that SIGTERM reaches it."""
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]

    assert [*scripts] == json.loads(_last("ENTRYPOINT"))
    assert ["worker"] == json.loads(_last("CMD"))
    assert _last("STOPSIGNAL") == "SIGTERM"


def test_the_health_check_uses_the_port_of_the_worker() -> None:
    """The health check, HTTP_ADDRESS and EXPOSE have the same port."""
    port = _environment()["HTTP_ADDRESS"].rpartition(":")[2]

    assert f"http://127.0.0.1:{port}/healthz" in _last("HEALTHCHECK")
    assert port == _last("EXPOSE")


def _pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_image_has_the_versions_that_the_tests_use() -> None:
    """The image's lock file has the checkout's versions, and no package that only tests need."""
    image, checkout = _pins(FOLDER / "requirements.lock"), _pins(TOP / "requirements.lock")

    assert image.items() <= checkout.items()
    assert {"pika", "httpx", "psycopg", "prometheus-client", "typer"} <= image.keys()
    assert set() == image.keys() & {"pytest", "mypy", "ruff", "hypothesis"}


def test_the_build_gets_only_the_files_that_it_copies() -> None:
    """Docker ignores all files that no COPY names, so that no secret of a checkout is sent to a builder."""
    lines = (TOP / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copies = [value.split()[:-1] for name, value in INSTRUCTIONS if name == "COPY" and "--from" not in value]
    copied = {source.partition("/")[0] for sources in copies for source in sources}

    assert rules[0] == "*"
    assert copied == {rule[1:] for rule in rules if rule.startswith("!")}


def test_every_variable_of_the_image_is_a_setting() -> None:
    """Apart from Python's own variables, the image sets only variables that the program knows."""
    ours = {name: value for name, value in _environment().items() if not name.startswith(("PYTHON", "PATH"))}

    assert set() == unknown(ours)
    assert parse(ours).http_address == "0.0.0.0:8080"


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_a_service_is_a_setting(name: str) -> None:
    """The program accepts the environment of each of its services."""
    environment = OURS[name].get("environment", {})

    assert set() == unknown(environment)
    parse(environment)


def test_compose_itself_reads_the_file() -> None:
    """Docker Compose accepts the file, and finds the services that these tests check."""
    compose = [program("docker"), "compose"]
    if subprocess.run([*compose, "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("Docker Compose is not installed")
    file = str(FOLDER / "compose.yaml")

    read = subprocess.run(
        [*compose, "--file", file, "config", "--services"], capture_output=True, text=True, check=False
    )

    assert read.returncode == 0, read.stderr
    assert sorted(SERVICES) == sorted(read.stdout.split())


def test_every_address_names_a_service() -> None:
    """The worker's addresses of broker, ledger and API name services of the same file."""
    environment = SERVICES["worker"]["environment"]
    hosts = {urlsplit(environment[name]).hostname for name in ("AMQP_URL", "LEDGER_URL", "VBS_ENDPOINT")}

    assert hosts <= SERVICES.keys()


def test_the_passwords_of_servers_and_worker_agree() -> None:
    """The worker signs in with the user and password that each server is started with."""
    environment = SERVICES["worker"]["environment"]
    broker, ledger = urlsplit(environment["AMQP_URL"]), urlsplit(environment["LEDGER_URL"])
    rabbitmq, postgres = SERVICES["rabbitmq"]["environment"], SERVICES["postgres"]["environment"]

    assert (rabbitmq["RABBITMQ_DEFAULT_USER"], rabbitmq["RABBITMQ_DEFAULT_PASS"]) == (
        broker.username,
        broker.password,
    )
    assert (postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"]) == (ledger.username, ledger.password)
    assert "/" + postgres["POSTGRES_DB"] == ledger.path


def test_the_emulator_listens_where_the_worker_calls() -> None:
    """The emulator listens on the worker's port, and not on loopback, which other containers cannot reach."""
    command = SERVICES["emulator"]["command"]

    assert urlsplit(SERVICES["worker"]["environment"]["VBS_ENDPOINT"]).port == int(
        command[command.index("--port") + 1]
    )
    assert command[command.index("--host") + 1] == "0.0.0.0"


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"outcomes"}))
def test_each_service_runs_a_command_that_exists(name: str) -> None:
    """The first word of each service's command, or of the image's, is a subcommand of the program."""
    assert OURS[name].get("command", json.loads(_last("CMD")))[0] in COMMANDS


def test_a_worker_may_drain_before_it_is_killed() -> None:
    """The grace period is longer than the drain, both as set and by default."""
    worker = SERVICES["worker"]
    grace = float(worker["stop_grace_period"].removesuffix("s"))

    assert grace > parse(worker["environment"]).drain_seconds
    assert grace > Settings.model_fields["drain_seconds"].default


def test_several_workers_share_one_ledger() -> None:
    """Several workers use PostgreSQL, since a SQLite file belongs to one machine."""
    assert SERVICES["worker"]["deploy"]["replicas"] > 1
    assert SERVICES["worker"]["environment"]["LEDGER_URL"].startswith("postgresql://")


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_waits_for_a_condition_that_can_hold(name: str) -> None:
    """A service waits for the health of services with a health check, and for the end of those that end."""
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        check = SERVICES[other].get("healthcheck", {})
        ends = check.get("disable", False)
        assert ("service_completed_successfully" if ends else "service_healthy") == wait["condition"]
        assert ends or "test" in check


def test_nothing_listens_beyond_this_machine() -> None:
    """Each published port is bound to loopback, since the passwords are public."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if port.startswith("127.0.0.1:")] == ports


def test_each_volume_is_declared() -> None:
    """The volumes that services mount are those that the file declares."""
    used = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}

    assert used == COMPOSE["volumes"].keys()
