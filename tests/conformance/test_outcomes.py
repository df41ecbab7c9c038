"""T26: the same message has the same outcome with every way to run the program and every ledger."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conformance.cases import CASES, Case
from tests.conformance.function_runner import FunctionRunner, carried
from tests.conformance.records import Record
from tests.conformance.runners import LedgerChoice, MemoryFunctionRunner, MemoryRunner, Runner, WorkerRunner

Records = Mapping[str, Record]


def _check(records: Records) -> None:
    """Check that each case has its expected outcomes."""
    wrong = {case.name: records[case.name] for case in CASES if _shown(case) != _seen(records[case.name])}
    assert {} == wrong


def _agree(reference: Records, records: Records) -> None:
    """Check that the records are identical: types, categories, counts and ids."""
    assert {name: reference[name] for name in reference if reference[name] != records[name]} == {
        name: records[name] for name in reference if reference[name] != records[name]
    }
    assert reference.keys() == records.keys()


def _agree_as_far_as_carried(reference: Records, runner: Runner) -> None:
    """Check that the runner agrees on the cases that a trigger can deliver, which passes bodies only."""
    cases = carried(CASES)
    assert 60 <= len(cases)
    _agree({case.name: reference[case.name] for case in cases}, runner.run(cases))


def _shown(case: Case) -> tuple[Counter[str], list[str], int]:
    return Counter(case.expected), sorted(case.dead), case.backups


def _seen(record: Record) -> tuple[Counter[str], list[str], int]:
    return record.types, sorted(category for _, category in record.dead), record.backups


def _twin(ledger: LedgerChoice, folder: Path, *, as_function: bool = False) -> Records:
    return MemoryRunner(ledger, folder, as_function).run(CASES)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Return the records of the twin with a ledger, with which all others are compared."""
    return _twin("sqlite", tmp_path_factory.mktemp("reference"))


def test_there_are_enough_cases() -> None:
    """There are at least sixty cases with different names."""
    names = [case.name for case in CASES]
    assert 60 <= len(names) == len(set(names))


def test_every_case_has_its_expected_outcomes(reference: Records) -> None:
    """The reference run gives the outcomes that the cases expect."""
    _check(reference)


@pytest.mark.parametrize("as_function", [False, True], ids=["one by one", "as one call"])
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_twin_agrees(ledger: LedgerChoice, as_function: bool, reference: Records, tmp_path: Path) -> None:
    """The twin agrees with and without a ledger, and handles messages one by one or as a batch."""
    _agree(reference, _twin(ledger, tmp_path, as_function=as_function))


@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_functions_twin_agrees(ledger: LedgerChoice, reference: Records, tmp_path: Path) -> None:
    """The function agrees when it is called with batches, with broker and API in memory."""
    _agree_as_far_as_carried(reference, MemoryFunctionRunner(ledger, tmp_path))


@pytest.mark.broker
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_worker_agrees(
    ledger: LedgerChoice, reference: Records, amqp_url: str, unique: str, tmp_path: Path
) -> None:
    """The worker agrees with a real broker and the emulator over sockets, with all cases at once."""
    runner: Runner = WorkerRunner(ledger, tmp_path, amqp_url, unique)
    _agree(reference, runner.run(CASES))


@pytest.mark.broker
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_function_agrees(
    ledger: LedgerChoice,
    reference: Records,
    amqp_url: str,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The function agrees when a trigger calls it, with a real broker and the emulator over sockets."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    _agree_as_far_as_carried(reference, FunctionRunner(ledger, tmp_path, amqp_url, unique))
