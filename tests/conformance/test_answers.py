"""Whatever bytes answer a create call, worker and function end with one backup and one outcome each.

The worker runs with both transports, the function with httpx's, which is in its bundle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from handler.vbs.transport import http
from tests.conformance.cases import ANSWER_CASES, UNASKED, UNREADABLE_REFUSALS, Case, project
from tests.conformance.function_runner import FunctionRunner
from tests.conformance.records import Record
from tests.conformance.runners import MemoryRunner, WorkerRunner

Records = Mapping[str, Record]
TRANSPORTS = pytest.mark.parametrize("transport", ["pool", "httpx"])
NO_HTTPTOOLS = 'raise ImportError("the extra `fast` is not installed")\n'


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """Return the records of the twin."""
    return twin(ANSWER_CASES, tmp_path_factory.mktemp("reference"))


def twin(cases: Sequence[Case], folder: Path) -> Records:
    """Run the cases with broker and API in memory."""
    return MemoryRunner("sqlite", folder).run(cases)


def paths_of(transport: str, folder: Path) -> Sequence[str]:
    """Return the import paths that make a worker use a transport."""
    if transport == "pool":
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
        return ()
    paths = folder / "without-httptools"
    paths.mkdir()
    (paths / "httptools.py").write_text(NO_HTTPTOOLS)
    return (str(paths),)


def check(case: Case, records: Records) -> None:
    """Check that each message of the case has one backup, which is accepted and completed once."""
    record, count = records[case.name], len(case.messages)
    assert (count, 2 * count, frozenset()) == (record.backups, len(record.outcomes), record.dead)


def agree(reference: Records, records: Records) -> None:
    """Check that the records are identical."""
    different = {name for name in reference if reference[name] != records[name]}
    assert {} == {name: (reference[name], records[name]) for name in different}


def test_each_answer_leads_to_one_backup_and_one_outcome(reference: Records) -> None:
    """Every snapshot has one backup, which is accepted and completed once."""
    for case in ANSWER_CASES:
        check(case, reference)


@pytest.mark.broker
@TRANSPORTS
def test_the_worker_agrees_on_every_answer(
    transport: str, reference: Records, amqp_url: str, unique: str, tmp_path: Path
) -> None:
    """The worker agrees with each transport, with all answers at once from one server."""
    python = paths_of(transport, tmp_path)
    agree(reference, WorkerRunner("sqlite", tmp_path, amqp_url, unique, python=python).run(ANSWER_CASES))


@pytest.mark.broker
def test_the_function_agrees_on_every_answer(
    reference: Records, amqp_url: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function agrees with the transport of its bundle."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    monkeypatch.setattr(http, "_fast", False)
    agree(reference, FunctionRunner("sqlite", tmp_path, amqp_url, unique).run(ANSWER_CASES))


@pytest.fixture
def python(transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Let worker and function use a transport; return the import paths of the worker."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    monkeypatch.setattr(http, "_fast", transport == "pool")
    return paths_of(transport, tmp_path)


@pytest.mark.broker
@pytest.mark.parametrize("runner", [WorkerRunner, FunctionRunner])
@TRANSPORTS
def test_refused_tokens_that_cannot_be_read_keep_no_connection(
    runner: type[WorkerRunner], python: Sequence[str], amqp_url: str, unique: str, tmp_path: Path
) -> None:
    """Seven refusals that the sign-in cannot read leave all connections of a pool of two free."""
    case = UNREADABLE_REFUSALS
    signed_in = {
        "CONCURRENCY": "2",
        "VBS_AUTH": "password",
        "OS_USERNAME": "demo",
        "OS_PASSWORD": "secret",
        "OS_USER_DOMAIN_NAME": "demo",
        "OS_PROJECT_ID": project(case.name),
    }
    made = runner("sqlite", tmp_path, amqp_url, unique, signed_in, {"auth": "token"}, python)
    check(case, made.run([case]))


@pytest.mark.broker
@pytest.mark.parametrize("runner", [WorkerRunner, FunctionRunner])
@TRANSPORTS
def test_an_answer_without_a_request_is_not_taken_for_the_next_one(
    runner: type[WorkerRunner], python: Sequence[str], amqp_url: str, unique: str, tmp_path: Path
) -> None:
    """With one call at a time, each call after a surplus answer gets its own: no backup's id is another's."""
    made = runner("sqlite", tmp_path, amqp_url, unique, {"CONCURRENCY": "1"}, python=python)
    check(UNASKED, made.run([UNASKED]))
