"""T26: the same message has the same outcome, however the program is run and whatever ledger it keeps."""

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
    """Each case came out as its data say."""
    wrong = {case.name: records[case.name] for case in CASES if _shown(case) != _seen(records[case.name])}
    assert {} == wrong


def _agree(reference: Records, records: Records) -> None:
    """Identical in everything: types, categories, counts and ids."""
    assert {name: reference[name] for name in reference if reference[name] != records[name]} == {
        name: records[name] for name in reference if reference[name] != records[name]
    }
    assert reference.keys() == records.keys()


def _agree_as_far_as_carried(reference: Records, runner: Runner) -> None:
    """A trigger hands over bodies only: what needs more cannot come this way."""
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
    """What all others are compared with: the twin that keeps a ledger."""
    return _twin("sqlite", tmp_path_factory.mktemp("reference"))


def test_there_are_enough_cases() -> None:
    """At least sixty, each with a name of its own."""
    names = [case.name for case in CASES]
    assert 60 <= len(names) == len(set(names))


def test_every_case_comes_out_as_its_data_say(reference: Records) -> None:
    """The data are right, before anybody is compared with anybody."""
    _check(reference)


@pytest.mark.parametrize("as_function", [False, True], ids=["one by one", "as one call"])
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_twin_agrees(ledger: LedgerChoice, as_function: bool, reference: Records, tmp_path: Path) -> None:
    """In memory, with and without a ledger, message by message and as a batch."""
    _agree(reference, _twin(ledger, tmp_path, as_function=as_function))


@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_functions_twin_agrees(ledger: LedgerChoice, reference: Records, tmp_path: Path) -> None:
    """Called in batches as a trigger calls it, with broker and API in memory."""
    _agree_as_far_as_carried(reference, MemoryFunctionRunner(ledger, tmp_path))


@pytest.mark.broker
@pytest.mark.parametrize("ledger", ["sqlite", "none"])
def test_the_worker_agrees(
    ledger: LedgerChoice, reference: Records, amqp_url: str, unique: str, tmp_path: Path
) -> None:
    """At a real broker, with the emulator over sockets, all cases at once."""
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
    """Called in batches by a trigger, at a real broker and with the emulator over sockets."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    _agree_as_far_as_carried(reference, FunctionRunner(ledger, tmp_path, amqp_url, unique))
