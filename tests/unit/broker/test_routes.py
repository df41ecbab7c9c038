"""The routes of outcomes: what is logged, which message tries the route, and what a probe asks."""

import asyncio
from collections.abc import Mapping

import pytest

from handler.backup.hooks import RouteChange
from handler.broker.routes import OUTCOME_TYPES, Routes, probe_routes
from handler.errors import OutcomeRefused, Unroutable
from tests.twins.clock import Clock

LOST: Mapping[str, Unroutable] = {"backup.accepted": Unroutable("no queue")}


class Known:
    """Routes with a clock, and what they reported."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.changes: list[RouteChange] = []
        self.routes = Routes("backups", probe_seconds=5, notify=self.changes.append, clock=self.clock)


@pytest.fixture
def known() -> Known:
    """Return routes of which nothing is known yet."""
    return Known()


def test_lost_outcomes_are_one_line_and_then_one_a_minute_with_a_count(
    known: Known, caplog: pytest.LogCaptureFixture
) -> None:
    """600 lost outcomes in two minutes are three lines, and the last two have the count of a minute."""
    for _ in range(601):
        known.routes.lost(LOST)
        known.clock.advance(0.2)
    first, *others = [record.getMessage() for record in caplog.records]
    assert "topology declare --outcomes-queue" in first
    assert [True, True] == ["(300 tries since the last line)" in line for line in others]


def test_a_route_that_is_found_and_lost_again_and_again_is_few_lines(
    known: Known, caplog: pytest.LogCaptureFixture
) -> None:
    """A route that changes every second for a minute is logged at most every ten seconds."""
    caplog.set_level("INFO")
    for _ in range(60):
        known.routes.lost(LOST)
        known.clock.advance(0.5)
        known.routes.found("backup.accepted")
        known.clock.advance(0.5)
    assert 6 == sum(record.levelname == "WARNING" for record in caplog.records)
    assert 6 == sum(record.levelname == "INFO" for record in caplog.records)


def test_a_change_of_a_route_is_reported(known: Known) -> None:
    """The hook is told of a lost and of a found route; a route that was never lost is no change."""
    assert not known.routes.found("backup.failed")
    known.routes.lost(LOST)
    known.routes.lost({"backup.skipped": OutcomeRefused("full")})
    assert known.routes.found("backup.accepted")
    assert [
        RouteChange("backup.accepted", "unroutable"),
        RouteChange("backup.skipped", "refused"),
        RouteChange("backup.accepted", None),
    ] == known.changes


def test_one_waiting_message_of_each_type_tries_the_route(known: Known) -> None:
    """Of the messages of one type, one in five seconds comes back soon; another type has its own."""
    assert known.routes.take_probe("backup.accepted")
    known.clock.advance(4.9)
    assert not known.routes.take_probe("backup.accepted")
    assert known.routes.take_probe("backup.failed")
    known.clock.advance(0.1)
    assert known.routes.take_probe("backup.accepted")


def test_a_missing_route_is_tried_while_an_outcome_waits_for_it(known: Known) -> None:
    """A waiting message that tries a missing route makes a probe needless, until it is overdue."""
    known.routes.take_probe("backup.accepted")
    assert not known.routes.tried
    known.routes.lost(LOST)
    assert known.routes.tried
    known.clock.advance(10)
    assert not known.routes.tried


def test_a_refused_outcome_is_not_tried_again_at_once(known: Known) -> None:
    """While one waiting message tries a refused route, the others are not published."""
    known.routes.lost({"backup.accepted": OutcomeRefused("full")})
    known.routes.take_probe("backup.accepted")
    assert known.routes.recently_refused("backup.accepted")
    assert not known.routes.recently_refused("backup.failed")
    known.clock.advance(5)
    assert not known.routes.recently_refused("backup.accepted")


@pytest.mark.parametrize(
    ("bound", "missing", "asked"),
    [
        ({"backup.probe", *OUTCOME_TYPES}, set(), ["backup.probe"]),
        (set(), {*OUTCOME_TYPES}, ["backup.probe", *OUTCOME_TYPES]),
        ({"backup.failed"}, {*OUTCOME_TYPES} - {"backup.failed"}, ["backup.probe", *OUTCOME_TYPES]),
    ],
    ids=["all", "none", "one"],
)
def test_a_probe_goes_by_each_type_only_without_a_binding_for_all(
    bound: set[str], missing: set[str], asked: list[str]
) -> None:
    """A binding for all outcomes takes one probe; else each type is asked for."""
    keys: list[str] = []

    async def publish(key: str) -> None:
        keys.append(key)
        if key not in bound:
            raise Unroutable(key)

    assert missing == set(asyncio.run(probe_routes(publish)))
    assert asked == keys
