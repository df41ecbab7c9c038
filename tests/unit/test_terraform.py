"""The deployment in infra/terraform, compared with the provider's arguments and the program's settings."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import hcl2
import pytest

from handler.bootstrap import topology
from handler.settings import Settings, load_settings
from tests.settings_names import NAMES, SECRETS, parse, program, unknown

FOLDER = Path(__file__).parents[2] / "infra" / "terraform"
SCHEMA = json.loads((Path(__file__).parents[1] / "data/terraform/huaweicloud-1.97.1.json").read_text())
# The arguments that Terraform accepts in any resource, and its own resource type.
META_ARGUMENTS = {"count", "for_each", "depends_on", "lifecycle", "provider"}
OWN_TYPES = {"terraform_data": {"optional": ["input", "triggers_replace"], "exported": ["id", "output"]}}
TYPES: dict[str, dict[str, Any]] = SCHEMA["resources"] | OWN_TYPES

Block = dict[str, Any]


def _load(path: Path) -> Block:
    options = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
    return dict(hcl2.loads(path.read_text(encoding="utf-8"), serialization_options=options))


FILES = {path.name: _load(path) for path in sorted(FOLDER.glob("*.tf"))}
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.tf")))


def _blocks(kind: str) -> Iterator[tuple[str, Block]]:
    for file in FILES.values():
        for block in file.get(kind, []):
            yield from block.items()


VARIABLES: dict[str, Block] = dict(_blocks("variable"))
OUTPUTS: dict[str, Block] = dict(_blocks("output"))
LOCALS: dict[str, Any] = dict(_blocks("locals"))
RESOURCES = {f"{kind}.{name}": body for kind, named in _blocks("resource") for name, body in named.items()}


def _problems(where: str, body: Block, schema: Block) -> Iterator[str]:
    arguments = {*schema.get("required", []), *schema.get("optional", [])}
    blocks: Block = schema.get("blocks", {})
    required = {*schema.get("required", []), *(name for name, block in blocks.items() if block["min"])}
    yield from (f"{where}: no argument {name}" for name in body.keys() - arguments - blocks.keys())
    yield from (f"{where}: {name} is missing" for name in required - body.keys())
    for name in body.keys() & blocks.keys():
        for inner in body[name]:
            yield from _problems(f"{where}.{name}", inner, blocks[name])


@pytest.mark.parametrize("address", [each for each in RESOURCES if not each.startswith("random_")])
def test_each_argument_is_one_the_provider_knows(address: str) -> None:
    """The provider knows each argument of each resource, and no required argument is missing."""
    body = {name: value for name, value in RESOURCES[address].items() if name not in META_ARGUMENTS}
    assert [] == list(_problems(address, body, TYPES[address.split(".")[0]]))


def test_the_check_finds_a_wrong_argument() -> None:
    """The check above finds an unknown, a missing and a misplaced nested argument."""
    schema = TYPES["huaweicloud_vpc_eip"]
    wrong = {"nmae": "x", "bandwidth": [{"speed": 5}]}

    expected = {"e: no argument nmae", "e: publicip is missing"}
    expected |= {"e.bandwidth: no argument speed", "e.bandwidth: share_type is missing"}
    assert expected == set(_problems("e", wrong, schema))


def test_the_checked_version_is_the_lowest_allowed() -> None:
    """The allowed range of the provider begins at the checked version, and ends before 2.0.0."""
    (terraform,) = FILES["versions.tf"]["terraform"]
    (providers,) = terraform["required_providers"]

    assert SCHEMA["provider"] == providers["huaweicloud"]["source"]
    assert f">= {SCHEMA['version']}, < 2.0.0" == providers["huaweicloud"]["version"]


def test_every_reference_leads_somewhere() -> None:
    """Each resource attribute, variable and local that the files refer to exists."""
    used = set(re.findall(r"\b(huaweicloud_\w+)\.(\w+)(?:\[[^]]+\])?\.(\w+)", TEXT))
    unresolved = {u for u in used if f"{u[0]}.{u[1]}" not in RESOURCES or u[2] not in _attributes(u[0])}

    assert set() == unresolved
    assert set() == set(re.findall(r"\bvar\.(\w+)", TEXT)) - VARIABLES.keys()
    assert set() == set(re.findall(r"\blocal\.(\w+)", TEXT)) - LOCALS.keys()


def _attributes(kind: str) -> set[str]:
    schema = TYPES[kind]
    return {*schema.get("required", []), *schema.get("optional", []), *schema.get("exported", [])}


def test_every_variable_is_used() -> None:
    """Each variable is used; one that is not would have no effect."""
    assert set() == VARIABLES.keys() - set(re.findall(r"\bvar\.(\w+)", _without_variables()))


def _without_variables() -> str:
    own_checks = {"max_message_bytes"}  # it limits batch_size, whose validation reads it
    rest = (path for path in FOLDER.glob("*.tf") if path.name != "variables.tf")
    return "\n".join(path.read_text(encoding="utf-8") for path in rest) + "".join(
        f" var.{n}" for n in own_checks
    )


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_says_what_it_is(name: str) -> None:
    """Each variable has a type and a description."""
    assert {"type", "description"} <= VARIABLES[name].keys()


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_says_what_it_is(name: str) -> None:
    """Each output has a description."""
    assert OUTPUTS[name]["description"]


def test_each_exchange_survives_a_restart_of_the_broker() -> None:
    """Each exchange is durable, unlike the provider's default, and Terraform declares no queue."""
    exchanges = {
        a: body for a, body in RESOURCES.items() if a.startswith("huaweicloud_dms_rabbitmq_exchange.")
    }

    assert len(exchanges) == 3
    assert all(body["durable"] is True and body["auto_delete"] is False for body in exchanges.values())
    assert "huaweicloud_dms_rabbitmq_queue" not in TEXT


def test_the_program_would_declare_the_same_exchanges() -> None:
    """Terraform's exchanges have the types that the program declares; others would stop the declaration."""
    settings = Settings(_env_file=None)
    declared = {exchange.name: exchange.type for exchange in topology(settings).exchanges()}
    made = {
        VARIABLES[body["name"][len("${var.") : -1]]["default"]: body["type"]
        for address, body in RESOURCES.items()
        if address.startswith("huaweicloud_dms_rabbitmq_exchange.")
    }

    assert made.items() <= declared.items()
    assert made.keys() == {settings.snapshot_exchange, settings.snapshot_queue, settings.result_exchange}


def test_the_output_for_topology_declare_has_all_settings_of_the_topology() -> None:
    """The output for ``topology declare`` has each setting that the topology depends on."""
    read: set[str] = set()

    class Read:
        """Settings that record which of them are read."""

        def __getattr__(self, name: str) -> Any:
            read.add(name.upper())
            return getattr(Settings(_env_file=None), name)

    topology(cast("Settings", Read()))

    assert read == set(LOCALS["topology_names"])
    assert OUTPUTS["topology_settings"]["value"] == "${local.topology_settings}"


def test_no_secret_is_written_down() -> None:
    """Secret variables and outputs are sensitive, have no default, and are not set in example.tfvars."""
    for name in ("broker_password", "ledger_url"):
        assert VARIABLES[name]["sensitive"] is True
        assert "default" not in VARIABLES[name]
    assert OUTPUTS["amqp_url"]["sensitive"] is True
    assert not re.search(
        r"^\s*(broker_password|ledger_url)\s*=", (FOLDER / "example.tfvars").read_text(), re.MULTILINE
    )


def test_secret_settings_are_given_encrypted() -> None:
    """The function's plain environment holds no setting that the program treats as a secret."""
    assert {"AMQP_URL", "LEDGER_URL", "STATE_KEYS"} == LOCALS["secret_settings"].keys()
    assert set() == _setting_names(LOCALS["settings"]) & SECRETS
    function = RESOURCES["huaweicloud_fgs_function.this"]
    assert function["user_data"] == "${jsonencode(local.settings)}"
    assert function["encrypted_user_data"] == "${jsonencode(local.secret_settings)}"


def test_terraform_makes_the_key_of_waiting_messages() -> None:
    """Terraform generates a key of letters and digits, since a comma would make two; others can be set."""
    key = RESOURCES["random_password.state_key"]

    assert {"length": 48, "special": False} == {name: key[name] for name in ("length", "special")}
    assert "random_password.state_key.result" in LOCALS["state_keys"]
    assert OUTPUTS["state_keys"]["sensitive"] is True
    assert VARIABLES["state_keys"]["sensitive"] is True
    assert "" == VARIABLES["state_keys"]["default"]


def test_every_setting_given_to_the_function_is_known() -> None:
    """The program knows each fixed, secret and optional setting, and none is set twice."""
    fixed = _setting_names(LOCALS["settings"]) | LOCALS["secret_settings"].keys()
    optional = _setting_names(VARIABLES["extra_settings"]["validation"][0]["condition"])

    assert len(fixed) >= 10
    assert len(optional) >= 10
    assert set() == (fixed | optional) - NAMES
    assert set() == fixed & optional
    assert set() == optional & SECRETS


def _setting_names(expression: str) -> set[str]:
    return set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*_[A-Z]+\b|\bCONCURRENCY\b", expression))


def test_the_trigger_is_given_the_fanout_exchange_named_as_the_queue() -> None:
    """The trigger has the fanout exchange with the queue's name, since it accepts only fanout exchanges."""
    exchange = RESOURCES["huaweicloud_dms_rabbitmq_exchange.queue"]
    trigger = RESOURCES["huaweicloud_fgs_function_trigger.queue"]

    assert ("fanout", "${var.snapshot_queue}") == (exchange["type"], exchange["name"])
    assert "exchange_name = huaweicloud_dms_rabbitmq_exchange.queue.name" in trigger["event_data"]
    assert "SNAPSHOT_QUEUE = var.snapshot_queue" in LOCALS["settings"]
    assert ("RABBITMQ", "ACTIVE") == (trigger["type"], trigger["status"])


def test_changes_of_the_trigger_on_the_server_are_ignored() -> None:
    """Changes of event_data on the server are ignored; a change in the files replaces the trigger."""
    (lifecycle,) = RESOURCES["huaweicloud_fgs_function_trigger.queue"]["lifecycle"]

    assert ["event_data"] == lifecycle["ignore_changes"]
    assert ["${terraform_data.trigger}"] == lifecycle["replace_triggered_by"]


def test_the_trigger_waits_for_the_queue() -> None:
    """The trigger is off by default, since the exchange drops messages until the queue exists."""
    assert VARIABLES["trigger_enabled"]["default"] is False
    assert RESOURCES["huaweicloud_fgs_function_trigger.queue"]["count"] == "${var.trigger_enabled ? 1 : 0}"


def test_a_full_batch_fits_an_asynchronous_request() -> None:
    """The default batch stays under 256 KB, and a validation requires it of others."""
    batch, message = (VARIABLES[name]["default"] for name in ("batch_size", "max_message_bytes"))
    conditions = [rule["condition"] for rule in VARIABLES["batch_size"]["validation"]]

    assert batch * message < 256 * 1024
    assert any("var.batch_size * var.max_message_bytes < 256 * 1024" in text for text in conditions)


def test_the_entry_points_are_those_of_the_package() -> None:
    """The function's entry points are those of the bundle's ``index``, on Python 3.12."""
    function = RESOURCES["huaweicloud_fgs_function.this"]

    assert ("index.handler", "index.initializer") == (function["handler"], function["initializer_handler"])
    assert ("Python3.12", "zip") == (function["runtime"], function["code_type"])


def _terraform(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [program("terraform"), *arguments]
    # The caller's environment is not passed on: neither its variables nor its account.
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "CHECKPOINT_DISABLE": "1",
        "TF_VAR_broker_password": "pass/word@1",
        "TF_VAR_ledger_url": "postgresql://u:p@10.40.1.9/ledger?sslmode=verify-full&sslrootcert=/opt/function/code/ca.pem",
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with variables and settings only, which Terraform evaluates without the provider."""
    folder = tmp_path_factory.mktemp("terraform")
    for name in ("variables.tf", "example.tfvars"):
        shutil.copy(FOLDER / name, folder)
    settings = (FOLDER / "settings.tf").read_text(encoding="utf-8")
    address = "huaweicloud_dms_rabbitmq_instance.this.connect_address"
    settings = settings.replace(address, '"10.40.1.7,10.40.1.8"')
    settings = settings.replace("random_password.state_key.result", f'"{"k" * 48}"')
    (folder / "settings.tf").write_text(settings, encoding="utf-8")
    output = (
        "output settings {\n value = merge(local.settings, local.secret_settings)\n sensitive = true\n}\n"
        "output topology_settings {\n value = local.topology_settings\n}\n"
    )
    (folder / "outputs.tf").write_text(output, encoding="utf-8")
    made = _terraform(folder, "init", "-input=false")
    assert made.returncode == 0, made.stderr
    return folder


def _plan(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return _terraform(
        folder, "plan", "-input=false", "-no-color", "-var-file=example.tfvars", "-out=plan", *arguments
    )


def test_the_files_are_formatted() -> None:
    """``terraform fmt`` reads each file and would change none."""
    assert "" == _terraform(FOLDER, "fmt", "-check", "-recursive").stdout


def test_the_program_accepts_the_settings_of_the_example(inputs: Path) -> None:
    """The program accepts the function's settings of the example, with special characters in the password."""
    assert _plan(inputs).returncode == 0
    shown = json.loads(_terraform(inputs, "show", "-json", "plan").stdout)
    given = shown["planned_values"]["outputs"]["settings"]["value"]

    assert set() == unknown(given)
    urls = [url.get_secret_value() for url in parse(given).amqp_url]
    login = "amqps://snapshot_backup:pass%2Fword%401"
    assert [f"{login}@10.40.1.{host}:5671/snapshot-backup" for host in (7, 8)] == urls


def test_the_operator_declares_what_the_function_uses(inputs: Path, tmp_path: Path) -> None:
    """The ``.env`` file of the output gives the same topology as the function's settings."""
    more = 'extra_settings={"SNAPSHOT_BINDINGS":"openstack:notifications.info","WAIT_LADDER":"7,70"}'
    assert _plan(inputs, "-var", more, "-var", "snapshot_queue=q").returncode == 0
    shown = json.loads(_terraform(inputs, "show", "-json", "plan").stdout)
    given = {name: each["value"] for name, each in shown["planned_values"]["outputs"].items()}
    (tmp_path / ".env").write_text(given["topology_settings"], encoding="utf-8")

    declared = topology(load_settings(_env_file=tmp_path / ".env"))

    assert topology(parse(given["settings"])) == declared
    assert ("q", (7, 70)) == (declared.queue, declared.delays)
    assert (("openstack", "notifications.info"),) == declared.foreign


def test_an_old_broker_gets_classic_queues(inputs: Path) -> None:
    """With RabbitMQ 3.8, which some regions offer alone, the function's queues are classic."""
    old = ("-var", "broker_engine_version=3.8.35", "-var", "queue_type=classic")
    assert _plan(inputs, *old).returncode == 0
    shown = json.loads(_terraform(inputs, "show", "-json", "plan").stdout)

    assert not topology(parse(shown["planned_values"]["outputs"]["settings"]["value"])).quorum


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("batch_size=11", "must stay under 262144 bytes"),
        ("max_message_bytes=26215", "must stay under 262144 bytes"),
        ("broker_engine_version=AMQP-0-9-1", "RabbitMQ 3.8 or later"),
        ("broker_engine_version=3.8.35", 'set queue_type = "classic"'),
        ("broker_engine_version=3.9.29", 'set queue_type = "classic"'),
        ("queue_type=stream", "queue_type must be quorum or classic"),
        ("broker_nodes=2", "broker_nodes must be 3, 5 or 7"),
        ("ledger_url=sqlite:///x.db", "must start with postgresql://"),
        ("ledger_url=postgresql://h/d?sslmode=require", "must verify the server"),
        ("vbs_endpoint=https://h/v2/p", "without version and project"),
        ('extra_settings={"AMQP_URL":"x"}', "extra_settings may have only"),
        ('extra_settings={"VBS_TIMOUT":"9"}', "extra_settings may have only"),
        ('operator_cidrs=["0.0.0.0/0"]', "not the whole internet"),
        ('availability_zones=["a","b"]', "at least three"),
        ('backup_roles=["Tenant Administrator"]', "which has all rights"),
    ],
)
def test_a_wrong_variable_is_refused_before_anything_is_made(inputs: Path, wrong: str, message: str) -> None:
    """Terraform refuses the plan, and the message says which rule the variable breaks."""
    refused = _plan(inputs, "-var", wrong)

    assert refused.returncode == 1
    assert message in " ".join(refused.stderr.replace("│", " ").split())
