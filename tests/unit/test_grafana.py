"""Unit tests of dashboard and alerts: they use only metrics that exist, and the README explains all."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.status.metrics import HELP
from handler.telemetry.actions import ACTIONS
from tests.conftest import ROOT
from tests.settings_names import program

FOLDER = ROOT / "infra" / "grafana"
ALERTS = FOLDER / "alerts.yaml"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]

HISTOGRAMS = {
    "event_seconds",
    "event_age_seconds",
    "unfinished_backup_seconds",
    "api_call_seconds",
    "ledger_group_size",
}
GAUGES = {
    "in_hand",
    "in_hand_oldest_seconds",
    "consuming",
    "concurrency",
    "circuit_breaker_state",
    "circuit_breaker_reason",
    "route_held",
    "projects_held",
    "paused",
    "paused_projects",
    "cloud_state",
    "confirms_outstanding",
    "ledger_reachable",
    "ledger_free_bytes",
    "outcomes_unroutable",
    "running_backups",
    "waiting_for_room",
    "waits_overdue",
    "processes",
}
OTHERS = {
    "rabbitmq_queue_messages_ready",  # of RabbitMQ's plugin rabbitmq_prometheus, at /metrics/per-object
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
}
METRIC = re.compile(r"\b(?:snapshot_backup|rabbitmq|process)_[a-z_]+")


def _samples() -> set[str]:
    """Return the name of every sample that the program may export, by the types of its metrics."""
    found = set()
    for name in HELP:
        suffixes = ("_bucket", "_sum", "_count") if name in HISTOGRAMS else ("",)
        if name not in HISTOGRAMS | GAUGES:
            suffixes = ("_total",)
        found |= {f"snapshot_backup_{name}{suffix}" for suffix in suffixes}
    return found


def _panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def _queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in _panels():
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def test_every_metric_of_a_query_exists() -> None:
    """Each metric in a query is exported by the program, or is one of ``OTHERS``."""
    unknown = {
        (where, metric)
        for where, expression in _queries()
        for metric in METRIC.findall(expression)
        if metric not in _samples() | OTHERS
    }
    assert set() == unknown


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    """A panel of the dashboard shows each metric of the program."""
    shown = " ".join(target["expr"] for panel in _panels() for target in panel["targets"])
    assert set() == {name for name in HELP if f"snapshot_backup_{name}" not in shown}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """Each alert has a summary and an action in sentences, and a severity."""
    notes = rule["annotations"]
    assert (True, True) == (notes["summary"].endswith("."), notes["action"].endswith("."))
    assert rule["labels"]["severity"] in ("warning", "critical")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_each_alert_names_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    """The path is that of a file in this repository, and the anchor that of a section about this alert."""
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    sections = re.findall(r"^## (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert rule["alert"].lower() == anchor
    assert rule["alert"] in sections


def test_the_runbook_has_no_section_without_an_alert() -> None:
    """A section that no alert names would be found by nobody."""
    sections = re.findall(r"^## (\w+)$", (FOLDER / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in RULES]


def test_prometheus_accepts_the_rules() -> None:
    """``promtool``, the checker of Prometheus, accepts the alert rules."""
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert (0, True) == (done.returncode, f"{len(RULES)} rules found" in done.stdout), done.stderr


UNROUTABLE = """
rule_files: [{alerts}]
tests:
  - interval: 1m
    input_series:
      - {{series: 'snapshot_backup_unroutable_total{{instance="a"}}', values: '0+1x10'}}
      - {{series: 'snapshot_backup_waiting_total{{instance="a", reason="publish"}}', values: '{waiting}'}}
    alert_rule_test:
      - {{eval_time: 10m, alertname: SnapshotBackupOutcomesUnroutable, exp_alerts: [{alert}]}}
"""


@pytest.mark.parametrize(
    ("waiting", "fires"),
    [("0+1x10", True), ("0x10", False)],
    ids=["delayed and published again", "ignored by RESULT_UNROUTABLE"],
)
def test_unroutable_outcomes_raise_an_alert_if_they_are_delayed(
    tmp_path: Path, waiting: str, fires: bool
) -> None:
    """Unroutable outcomes raise no alert with RESULT_UNROUTABLE=ignore, which the alert recommends."""
    [rule] = [rule for rule in RULES if rule["alert"] == "SnapshotBackupOutcomesUnroutable"]
    notes = rule["annotations"]
    alerted = {"exp_labels": rule["labels"], "exp_annotations": notes}
    text = UNROUTABLE.format(alerts=ALERTS, waiting=waiting, alert=json.dumps(alerted) if fires else "")
    (tmp_path / "test.yaml").write_text(text)

    done = subprocess.run(
        [program("promtool"), "test", "rules", str(tmp_path / "test.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout + done.stderr


def test_panels_do_not_overlap() -> None:
    """Each panel has its own id and its own place on a grid of 24 columns."""
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert (len(places), len(ids), True) == (len(set(places)), len(set(ids)), max(x for x, _ in places) < 24)


def test_each_panel_has_a_title_and_a_description() -> None:
    """Each panel has a title and a description, and its queries have different names."""
    for panel in _panels():
        references = [target["refId"] for target in panel["targets"]]
        assert panel["title"]
        assert panel["description"]
        assert len(references) == len(set(references))


def test_every_variable_that_is_used_is_declared() -> None:
    """The dashboard declares all variables that its panels use; Grafana would not replace others."""
    used = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(list(_panels()))))
    assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_the_folder_has_no_other_files() -> None:
    """The folder has the two files to import, its README, and the runbook."""
    assert {"alerts.yaml", "dashboard.json", "README.md", "RUNBOOK.md"} == {
        path.name for path in Path(FOLDER).iterdir()
    }


def test_the_tables_of_the_readme_are_those_of_the_code() -> None:
    """The README explains every metric and action in the words of the code."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    explained = {name.removesuffix("_total"): meaning for name, meaning in rows}
    assert {**HELP, **ACTIONS} == explained
