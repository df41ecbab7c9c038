"""The manifests in infra/kubernetes, compared with each other, the image and the program's settings."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from handler.ledger.postgres_connection import unverified_hosts
from handler.settings import Settings, load_settings
from tests.settings_names import SECRETS, parse, program, unknown

TOP = Path(__file__).parents[2]
FOLDER = TOP / "infra" / "kubernetes"
BASE, KEDA, EXAMPLE = FOLDER / "base", FOLDER / "components" / "keda", FOLDER / "overlays" / "example"

Manifest = dict[str, Any]


def _load(path: Path) -> Manifest:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def _pairs(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _of(folder: Path) -> dict[str, Manifest]:
    loaded = (
        _load(folder / name) for name in _load(folder / "kustomization.yaml")["resources"] if ".yaml" in name
    )
    return {manifest["kind"]: manifest for manifest in loaded}


MANIFESTS = _of(BASE) | _of(KEDA) | _of(EXAMPLE)
SETTINGS = _pairs(BASE / "settings.env")
DEPLOYMENT = MANIFESTS["Deployment"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
LABELS = DEPLOYMENT["template"]["metadata"]["labels"]
(WORKER,) = POD["containers"]
SETTINGS_VOLUME, LEDGER_VOLUME = POD["volumes"]
MOUNTS = {mount["name"]: mount["mountPath"] for mount in WORKER["volumeMounts"]}
SCALER = MANIFESTS["ScaledObject"]["spec"]
SCALE_DOWN = SCALER["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]


@pytest.mark.parametrize("folder", [BASE, KEDA, EXAMPLE], ids=lambda folder: folder.name)
def test_every_manifest_is_listed(folder: Path) -> None:
    """Each manifest is listed in its kustomization, since others would never be applied."""
    listed = {name for name in _load(folder / "kustomization.yaml")["resources"] if name.endswith(".yaml")}

    assert {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"} == listed


def test_every_setting_of_the_base_is_a_setting() -> None:
    """The program accepts the base's settings, and none of them is misspelt."""
    assert set() == unknown(SETTINGS)
    parse(SETTINGS)


def test_the_examples_settings_are_settings() -> None:
    """The program accepts the settings and secrets of the example overlay."""
    (changed,) = _load(EXAMPLE / "kustomization.yaml")["configMapGenerator"]
    values = dict(pair.split("=", 1) for pair in changed["literals"]) | _pairs(
        EXAMPLE / "secrets.env.example"
    )

    assert set() == unknown(values)
    parse(SETTINGS | values)


def test_no_secret_is_in_the_config_map() -> None:
    """Of the secret settings, the config map has only LEDGER_URL, and without a password."""
    assert {"LEDGER_URL"} == SETTINGS.keys() & SECRETS
    assert re.fullmatch(r"postgresql://[^:@/]+@.+", SETTINGS["LEDGER_URL"])


def _ledgers() -> list[str]:
    (changed,) = _load(EXAMPLE / "kustomization.yaml")["configMapGenerator"]
    return [
        SETTINGS["LEDGER_URL"],
        *(x.partition("=")[2] for x in changed["literals"] if x.startswith("LEDGER")),
    ]


def test_every_ledger_is_verified_with_the_mounted_authority() -> None:
    """Base and example check the name in the server's certificate, by a file of the mounted secret."""
    (item,) = LEDGER_VOLUME["secret"]["items"]
    query = f"sslmode=verify-full&sslrootcert={MOUNTS[LEDGER_VOLUME['name']]}/{item['path']}"

    assert [query, query] == [urlsplit(url).query for url in _ledgers()]
    assert [[], []] == [unverified_hosts(url) for url in _ledgers()]


def test_several_workers_share_one_ledger() -> None:
    """All ledgers are in PostgreSQL, since deployment and scaler run more than one replica."""
    ledgers = _ledgers()

    assert DEPLOYMENT["replicas"] > 1
    assert SCALER["minReplicaCount"] > 1
    assert [url for url in ledgers if url.startswith("postgresql://")] == ledgers
    assert len(ledgers) == 2


def test_a_worker_may_drain_before_it_is_killed() -> None:
    """The grace period is longer than the drain, both as set and by default."""
    grace = POD["terminationGracePeriodSeconds"]

    assert grace > parse(SETTINGS).drain_seconds
    assert grace > Settings.model_fields["drain_seconds"].default


def test_one_drain_ends_before_the_next_begins() -> None:
    """The scaler removes one worker at a time, and waits longer than a grace period in between."""
    assert [policy["value"] for policy in SCALE_DOWN["policies"]] == [1]
    assert all(
        policy["periodSeconds"] > POD["terminationGracePeriodSeconds"] for policy in SCALE_DOWN["policies"]
    )
    assert SCALE_DOWN["stabilizationWindowSeconds"] > POD["terminationGracePeriodSeconds"]
    assert SCALER["cooldownPeriod"] > POD["terminationGracePeriodSeconds"]


def test_the_scaler_names_our_queue_and_our_deployment() -> None:
    """The scaler names the queue, the deployment and the sign-in that the other manifests define."""
    (trigger,) = SCALER["triggers"]

    assert SETTINGS["SNAPSHOT_QUEUE"] == trigger["metadata"]["queueName"]
    assert MANIFESTS["Deployment"]["metadata"]["name"] == SCALER["scaleTargetRef"]["name"]
    assert MANIFESTS["TriggerAuthentication"]["metadata"]["name"] == trigger["authenticationRef"]["name"]
    assert int(trigger["metadata"]["value"]) >= parse(SETTINGS).concurrency


def _selectors() -> Iterator[tuple[str, Manifest]]:
    yield "Deployment", DEPLOYMENT["selector"]["matchLabels"]
    yield "Service", MANIFESTS["Service"]["spec"]["selector"]
    yield "PodDisruptionBudget", MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    yield "NetworkPolicy", MANIFESTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    yield "spread", POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]


@pytest.mark.parametrize(("kind", "selector"), list(_selectors()))
def test_each_selector_selects_the_workers(kind: str, selector: Manifest) -> None:
    """The pods have all labels of each selector; otherwise it would silently select none."""
    assert selector, kind
    assert selector.items() <= LABELS.items()


def test_every_port_leads_to_the_worker() -> None:
    """Probes, service and network policy name the container's port, which HTTP_ADDRESS opens."""
    (port,) = WORKER["ports"]
    probes = [WORKER[name]["httpGet"]["port"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    (service,) = MANIFESTS["Service"]["spec"]["ports"]
    (allowed,) = MANIFESTS["NetworkPolicy"]["spec"]["ingress"][0]["ports"]

    assert SETTINGS["HTTP_ADDRESS"] == f"0.0.0.0:{port['containerPort']}"
    assert {port["name"]} == {*probes, service["targetPort"], allowed["port"]}


def test_an_outage_elsewhere_restarts_no_worker() -> None:
    """Only the readiness probe uses /readyz, which depends on broker and API."""
    assert WORKER["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert WORKER["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert WORKER["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_worker_is_confined() -> None:
    """The worker runs without root, without new rights, on a read-only disk, and with a memory limit."""
    rights = WORKER["securityContext"]

    assert POD["securityContext"]["runAsNonRoot"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["readOnlyRootFilesystem"] is True
    assert ["ALL"] == rights["capabilities"]["drop"]
    assert "memory" in WORKER["resources"]["limits"]


def test_the_pod_runs_as_the_images_user() -> None:
    """The pod's user and group are those of the image's USER instruction."""
    dockerfile = (TOP / "infra" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    user, group = POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]

    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == [f"{user}:{group}"]


def test_no_token_of_the_cluster_is_mounted() -> None:
    """Neither the service account nor the pod mounts a token, and the pod uses that account."""
    assert MANIFESTS["ServiceAccount"]["automountServiceAccountToken"] is False
    assert POD["automountServiceAccountToken"] is False
    assert MANIFESTS["ServiceAccount"]["metadata"]["name"] == POD["serviceAccountName"]


def test_settings_and_secrets_reach_the_worker() -> None:
    """The worker reads the generated config map, and its secrets are mounted at SECRETS_DIR."""
    (generated,) = _load(BASE / "kustomization.yaml")["configMapGenerator"]

    assert [{"configMapRef": {"name": generated["name"]}}] == WORKER["envFrom"]
    assert MOUNTS[SETTINGS_VOLUME["name"]] == SETTINGS["SECRETS_DIR"]


def test_each_secret_that_is_named_is_made_by_the_example() -> None:
    """The example's generators make each secret and key that a manifest refers to."""
    generated = _load(EXAMPLE / "kustomization.yaml")["secretGenerator"]
    keys = {
        made["name"]: set(_pairs(EXAMPLE / f"{made['envs'][0]}.example")) | set(made.get("files", ()))
        for made in generated
    }
    (password,) = (variable["valueFrom"]["secretKeyRef"] for variable in WORKER["env"])
    (host,) = MANIFESTS["TriggerAuthentication"]["spec"]["secretTargetRef"]

    assert password["key"] in keys[password["name"]]
    assert host["key"] in keys[host["name"]]
    assert "AMQP_URL" in keys[SETTINGS_VOLUME["secret"]["secretName"]]
    assert {item["key"] for item in LEDGER_VOLUME["secret"]["items"]} <= keys["snapshot-backup-ledger"]


def test_the_network_policy_allows_only_the_ports_that_the_worker_needs() -> None:
    """The network policy allows only DNS, broker, ledger and API outwards, and limits who may connect."""
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    out = {port["port"] for rule in policy["egress"] for port in rule["ports"]}

    assert {53, 5671, 5672, 5432, 443} == out
    assert ["Ingress", "Egress"] == policy["policyTypes"]
    assert all("from" in rule for rule in policy["ingress"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """Return the example as kustomize builds it, with the placeholders as secrets."""
    copy = tmp_path_factory.mktemp("kubernetes") / "copy"
    shutil.copytree(FOLDER, copy)
    for example in (copy / "overlays" / "example").glob("*.example"):
        example.rename(example.with_suffix(""))
    command = [program("kubectl"), "kustomize", str(copy / "overlays" / "example")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {f"{m['kind']}/{m['metadata']['name']}": m for m in yaml.safe_load_all(done.stdout)}


def test_the_example_builds(built: dict[str, Manifest]) -> None:
    """The built manifests contain each config map and secret that they refer to."""
    pod = built["Deployment/snapshot-backup"]["spec"]["template"]["spec"]
    worker = pod["containers"][0]
    used = {
        f"ConfigMap/{worker['envFrom'][0]['configMapRef']['name']}",
        f"Secret/{worker['env'][0]['valueFrom']['secretKeyRef']['name']}",
        f"Secret/{pod['volumes'][0]['secret']['secretName']}",
        f"Secret/{built['TriggerAuthentication/snapshot-backup']['spec']['secretTargetRef'][0]['name']}",
    }

    assert used <= built.keys()
    assert len(used) == 4


def test_the_deployment_has_no_number_of_replicas_with_the_scaler(built: dict[str, Manifest]) -> None:
    """With the scaler, the deployment has no number of replicas, since each would override the other."""
    assert "replicas" not in built["Deployment/snapshot-backup"]["spec"]
    assert "ScaledObject/snapshot-backup" in built


def test_secrets_are_read_as_kubernetes_mounts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings are read from files behind two links, as Kubernetes mounts secrets."""
    secrets = _pairs(EXAMPLE / "secrets.env.example")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "..2026_01_01").mkdir()
    for name, value in secrets.items():
        (tmp_path / "..2026_01_01" / name).write_text(value, encoding="utf-8")
        (tmp_path / name).symlink_to(Path("..data") / name)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))

    settings = load_settings()

    assert [secrets["AMQP_URL"]] == [url.get_secret_value() for url in settings.amqp_url]
    assert settings.os_password is not None
    assert secrets["OS_PASSWORD"] == settings.os_password.get_secret_value()
