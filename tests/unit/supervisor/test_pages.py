"""The pages of a supervisor: what is shown of workers that are ready, silent, starting or gone."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import pytest

from handler.status.server import Answer, document, healthy
from handler.supervisor import pages
from handler.supervisor.supervisor import Place
from handler.supervisor.totals import Totals
from tests.unit.supervisor.twins import TwinChild

READY = document(HTTPStatus.OK, {"ready": True, "broker": "ok"})
UNREADY = document(HTTPStatus.SERVICE_UNAVAILABLE, {"ready": False, "broker": "not connected"})
METRICS = Answer(
    HTTPStatus.OK, b"# TYPE snapshot_backup_events_total counter\nsnapshot_backup_events_total 2\n"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_READY_SECONDS", 0.05)
    monkeypatch.setattr(pages, "_SECONDS", 0.05)


def places(*children: Mapping[str, Answer | None] | None) -> Sequence[Place]:
    """Return places: with pages a worker that has begun, with ``{}`` one that hangs, with None none."""
    found = [Place(number) for number in range(1, len(children) + 1)]
    for place, answers in zip(found, children, strict=True):
        if answers is not None:
            twin = TwinChild(place.number, answers)
            twin.begun = True
            place.child = twin.as_child()
    return found


def ask(path: str, make: Callable[[], Sequence[Place]], totals: Totals | None = None) -> Answer:
    """Return the answer of a supervisor with these places."""

    async def answer() -> Answer:
        found: Any = pages.pages(make(), totals)[path]()
        return await _as_answer(found)

    return asyncio.run(answer())


async def _as_answer(found: Awaitable[Answer]) -> Answer:
    return await found


def ready(make: Callable[[], Sequence[Place]]) -> tuple[int, Mapping[str, Any]]:
    """Return status and document of /readyz."""
    answer = ask("/readyz", make)
    return answer.status.value, json.loads(answer.body)


def test_a_supervisor_is_ready_while_one_worker_is() -> None:
    """The queue is consumed; the page says what the other one lacks."""
    status, shown = ready(lambda: places({"/readyz": READY}, {"/readyz": UNREADY}))
    assert (200, True) == (status, shown["ready"])
    assert {"1": "ok", "2": "not connected"} == {n: each["broker"] for n, each in shown["workers"].items()}


def test_a_supervisor_without_a_ready_worker_is_not_ready() -> None:
    """Each worker's reason is shown: not connected, silent, or gone."""

    def make() -> Sequence[Place]:
        found = places({"/readyz": UNREADY}, {}, None)
        found[2].why = "was ended by SIGSEGV after 1.0 s; is started again"
        return found

    status, shown = ready(make)
    workers = shown["workers"]
    assert (503, "not connected") == (status, workers["1"]["broker"])
    assert ["does not answer", "was ended by SIGSEGV after 1.0 s; is started again"] == [
        workers[number]["process"] for number in ("2", "3")
    ]


def test_a_worker_that_has_not_answered_yet_is_starting() -> None:
    """It takes a second until a process has read its settings."""

    def make() -> Sequence[Place]:
        (place,) = places({})
        assert place.child
        place.child.begun = False
        return [place]

    assert {"ready": False, "process": "is starting"} == ready(make)[1]["workers"]["1"]


@pytest.mark.parametrize(
    ("children", "status"),
    [
        (({"/healthz": healthy()}, {"/healthz": healthy()}), 200),
        (({"/healthz": healthy()}, None), 200),
        (({"/healthz": healthy()}, {"/healthz": None}), 200),
        (({"/healthz": healthy()}, {}), 503),
    ],
    ids=["all answer", "one has ended", "one ends meanwhile", "one hangs"],
)
def test_a_supervisor_is_healthy_unless_a_worker_hangs(
    children: Sequence[Mapping[str, Answer | None] | None], status: int
) -> None:
    """A worker that has ended is the supervisor's matter; one that hangs is not noticed otherwise."""
    assert status == ask("/healthz", lambda: places(*children)).status


@pytest.mark.parametrize(("age", "status"), [(1.0, 200), (100.0, 503)])
def test_a_worker_that_hangs_at_its_start_is_given_a_minute(age: float, status: int) -> None:
    """It answers nothing while it imports, and should after a minute."""

    def make() -> Sequence[Place]:
        twin, place = TwinChild(1), Place(1)
        twin.age = age
        place.child = twin.as_child()
        return [place]

    assert status == ask("/healthz", make).status


def test_the_page_says_which_worker_hangs() -> None:
    """The number is that of the log lines."""
    assert b"worker 2 does not answer\n" == ask("/healthz", lambda: places({"/healthz": healthy()}, {})).body


def test_the_metrics_are_those_of_all_workers() -> None:
    """They are read when they are asked for; a worker that hangs holds no other up."""
    totals = Totals(lambda: 0)
    answer = ask("/metrics", lambda: places({"/metrics": METRICS}, {"/metrics": METRICS}, {}, None), totals)
    assert b"snapshot_backup_events_total 4.0\n" in answer.body


def test_a_worker_that_has_ended_meanwhile_is_not_read() -> None:
    """Its counts are in the sum already: they would be counted twice."""
    totals = Totals(lambda: 0)

    def make() -> Sequence[Place]:
        (place,) = places({})
        twin = TwinChild(1, {"/metrics": METRICS})
        twin.begun = True
        place.child = twin.as_child()

        async def ask_and_end(path: str) -> Answer | None:
            place.child = None
            return twin.pages[path]

        twin.ask = ask_and_end  # type: ignore[method-assign]
        return [place]

    assert b"snapshot_backup_events" not in ask("/metrics", make, totals).body


def test_the_metrics_page_without_the_extra_says_what_to_install() -> None:
    """It answers 501, as a worker's does."""
    answer = ask("/metrics", lambda: places({"/metrics": METRICS}))
    assert (501, True) == (answer.status, b"snapshot-backup[metrics]" in answer.body)
