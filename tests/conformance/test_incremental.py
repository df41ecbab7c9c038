"""``incremental = "auto"`` and what Cinder v3 knows more: the same with every way to run the program."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from handler.backup.backup_metadata import EVENT_KEY, SNAPSHOT_KEY
from handler.backup.request import BackupRequest
from handler.backup.rules import load_rules
from handler.backup.selection import Selection
from handler.backup.services import MessageSettings
from tests.chaos.site import Site, wait_for
from tests.conformance.cases import Case
from tests.conformance.function_runner import FunctionRunner
from tests.conformance.incremental_cases import INCREMENTAL_CASES, RULES
from tests.conformance.records import Record, event_ids
from tests.conformance.runners import LedgerChoice, MemoryFunctionRunner, MemoryRunner, WorkerRunner
from tests.twins.api import Made
from tests.twins.world import World

Records = Mapping[str, Record]
EXPECTED = {case.name: [False, *([case.incremental] if case.backups else [])] for case in INCREMENTAL_CASES}
"""What the backups of each case's volume were asked to be; the earlier one is full."""

_CASE_OF = {case.earlier["project_id"]: case.name for case in INCREMENTAL_CASES}


class _Twins(MemoryRunner):
    """Runs each case in a world with the rules, whose volumes have their earlier backups."""

    def _world(self, folder: Path, settings: MessageSettings) -> World:
        world = super()._world(folder, settings)
        world.selection = Selection((), (), load_rules(rules_file(folder)))
        world.process = world.new_process()
        for case in INCREMENTAL_CASES:
            ids = dict(case.earlier)
            project_id = ids.pop("project_id")
            request = BackupRequest(name="earlier", incremental=False, **ids)
            world.api.backups.append(Made(ids["snapshot_id"], project_id, request, world.steady.now - 60))
        return world


class TwinRunner(_Twins, MemoryRunner):
    """The worker's messages, one by one."""


class TwinFunctionRunner(_Twins, MemoryFunctionRunner):
    """The function's calls."""


def rules_file(folder: Path) -> Path:
    """Write the rules into a file."""
    file = folder / "rules.toml"
    file.write_text(RULES)
    return file


@dataclass(frozen=True)
class _Cinder(WorkerRunner):
    """Runs against an emulator of Cinder v3 whose volumes have their earlier backups."""

    made: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def _site(self) -> Iterator[Site]:
        with super()._site() as site:
            for case in INCREMENTAL_CASES:
                ids = dict(case.earlier)
                url = f"{site.emulator.url}/v3/{ids.pop('project_id')}/backups"
                httpx.post(url, json={"backup": ids}, trust_env=False).raise_for_status()
            wait_for(lambda: self._all_available(site), seconds=30, what=site.counts)
            yield site

    def _all_available(self, site: Site) -> bool:
        return all(each["status"] == "available" for each in site.emulator.backups())

    def _wait(self, site: Site, cases: Sequence[Case]) -> None:
        super()._wait(site, cases)
        self.made.extend(site.emulator.backups())


class CinderWorker(_Cinder, WorkerRunner):
    """The worker."""


class CinderFunction(_Cinder, FunctionRunner):
    """The function."""


def v3(folder: Path) -> Mapping[str, Any]:
    """Return the settings of worker and emulator."""
    settings = {"VBS_API_VERSION": "v3", "RULES_FILE": str(rules_file(folder))}
    return {"settings": settings, "emulator": {"rules": "cinder"}}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Return the records of the worker's twin, with which all others are compared."""
    return TwinRunner("sqlite", tmp_path_factory.mktemp("reference")).run(INCREMENTAL_CASES)


def test_every_case_has_its_expected_outcomes(reference: Records) -> None:
    """The reference run gives the outcomes and the number of backups that the cases expect."""
    for case in INCREMENTAL_CASES:
        record = reference[case.name]
        dead = [category for _, category in record.dead]
        assert (sorted(case.expected), case.backups, list(case.dead)) == (
            sorted(record.types.elements()),
            record.backups,
            dead,
        ), case.name


@pytest.mark.parametrize("runner", [TwinRunner, TwinFunctionRunner])
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_twins_agree(
    ledger: LedgerChoice, runner: type[MemoryRunner], reference: Records, tmp_path: Path
) -> None:
    """Worker and function agree with and without a ledger, with broker and API in memory."""
    assert reference == runner(ledger, tmp_path).run(INCREMENTAL_CASES)


@pytest.mark.broker
@pytest.mark.parametrize("runner", [CinderWorker, CinderFunction])
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_real_ones_agree(
    ledger: LedgerChoice,
    runner: type[_Cinder],
    reference: Records,
    amqp_url: str,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worker and function agree with a real broker and Cinder's rules, and their backups are as asked for."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    real = runner(ledger, tmp_path, amqp_url, unique, **v3(tmp_path))
    assert reference == real.run(INCREMENTAL_CASES)
    found: dict[str, list[bool]] = {case.name: [] for case in INCREMENTAL_CASES}
    for backup in real.made:
        found[_CASE_OF[backup["project_id"]]].append(backup["request"]["backup"].get("incremental", False))
    assert EXPECTED == found
    _check_metadata([each for each in real.made if each["name"] is not None])


def _check_metadata(made: Sequence[Mapping[str, Any]]) -> None:
    """Check that each backup says of which snapshot it is and which event asked for it."""
    events = {case.earlier["project_id"]: event_ids(case) for case in INCREMENTAL_CASES}
    for backup in made:
        asked = backup["request"]["backup"]
        marks = {SNAPSHOT_KEY: backup["snapshot_id"], EVENT_KEY: next(iter(events[backup["project_id"]]))}
        second = asked["name"].startswith("second-")
        assert (marks if second else {"policy": "gold", **marks}) == asked["metadata"]
        assert (None if second else "az-2") == asked.get("availability_zone")
