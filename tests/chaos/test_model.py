"""T24: a state-machine model of the program: its guarantees hold for any events in any order.

Each rule is one possible event or fault. At the end all faults stop, and all messages are handled. Then each
event must have exactly one outcome, and each snapshot exactly one backup.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from events.decode import parse_message
from events.message import Message, State, wrap
from events.outcome import CONTENT_TYPE, Category
from handler.backup.ports import Key
from handler.backup.selection import Selection
from handler.errors import ApiError
from tests.chaos.verdicts import ACCEPTED, TERMINAL
from tests.twins.api import CutAfter, CutBefore, Fault, LateCommit
from tests.twins.broker import DeadLetter
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.steps import Crash
from tests.twins.world import MESSAGE_SETTINGS, World

SNAPSHOTS = 4
LIMIT = 2
SETTLE = MESSAGE_SETTINGS.limits.settle_time

FAULTS: dict[str, Fault] = {
    "503": ApiError(Category.UNAVAILABLE, "down", status=503),
    "429": ApiError(Category.THROTTLED, "slow down", status=429, retry_after=3.0),
    "500": ApiError(Category.IN_DOUBT, "oops", status=500),
    "busy": ApiError(Category.CONFLICT, "backing-up", status=400, busy=True),
    "401": ApiError(Category.DENIED, "sign in", status=401),
    "refused": ApiError(Category.REFUSED, "no", status=400),
    "quota": ApiError(Category.QUOTA, "full", status=413),
    "cut before": CutBefore(),
    "cut after": CutAfter(),
    # A commit after the last lookup would lead to a second backup, which no client can prevent.
    "late": LateCommit(SETTLE),
}
KINDS = [name for name in FAULTS if name != "late"]


class Promises(RuleBasedStateMachine):
    """The state machine: a world of twins, and the events that were published."""

    late = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World(kind="memory")
        self.asked: dict[str, str] = {}
        self.replays: Counter[str] = Counter()

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine on the event loop of this state machine."""
        self.loop.run_until_complete(work)

    @initialize(settle=st.sampled_from([0.0, 10.0]), hidden=st.booleans())
    def begin(self, settle: float, hidden: bool) -> None:
        """Choose the behaviour of the API."""
        self.world.api.settle = settle
        self.world.api.hide_snapshot_ids = hidden

    @rule(number=st.integers(0, SNAPSHOTS - 1), again=st.integers(0, 1), copies=st.integers(1, 3))
    def publish(self, number: int, again: int, copies: int) -> None:
        """Publish one to three copies of an event; each of the few snapshots has two events."""
        event_id = made_up_id(f"event {again}", number)
        self.asked[event_id] = made_up_id("snapshot", number)
        for _ in range(copies):
            self.world.broker.publish(message(number, event_id=event_id))

    @rule(batch=st.integers(1, 4), as_function=st.booleans())
    def deliver(self, batch: int, as_function: bool) -> None:
        """Deliver messages."""
        self.run(self.world.invoke(batch) if as_function else self.world.deliver(batch))

    @rule(steps=st.integers(1, 12), batch=st.integers(1, 3))
    def crash(self, steps: int, batch: int) -> None:
        """Deliver messages, and crash the process while it handles them."""
        self.world.steps.crash_at = len(self.world.steps.names) + steps
        self.run(self.world.deliver(batch))
        self.world.steps.crash_at = None

    @rule()
    def restart(self) -> None:
        """Crash the process between messages."""
        self.run(self.world.restart())

    @rule(batch=st.integers(1, 3))
    def connection_lost(self, batch: int) -> None:
        """Lose the connection before the next publish."""
        self.world.broker.lost = True
        self.run(self.world.deliver(batch))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 30.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        """Advance the clock, and deliver messages whose delay has passed."""
        self.world.advance(seconds)
        self.world.broker.expire()

    @rule(kept=st.integers(0, 2))
    def waits_are_lost(self, kept: int) -> None:
        """Lose what waits, as with deleted wait queues, except for some messages."""
        del self.world.broker.waiting[kept:]

    @rule(overdue=st.sampled_from([-1.0, 60.0]))
    def sweep(self, overdue: float) -> None:
        """Publish overdue messages again, or already those that are due in a second and not lost."""
        self.run(self.world.sweep(overdue))

    @rule(name=st.sampled_from(KINDS), count=st.integers(1, 3))
    def create_fails(self, name: str, count: int) -> None:
        """Make the next creates fail."""
        self.world.api.fail("create", *[FAULTS[name]] * count)

    @precondition(lambda self: self.late)
    @rule()
    def commits_late(self) -> None:
        """Drop the answer of the next create, whose backup is made later."""
        self.world.api.fail("create", FAULTS["late"])

    @rule(call=st.sampled_from(["find", "show"]), name=st.sampled_from(["503", "429", "401", "cut before"]))
    def look_fails(self, call: Any, name: str) -> None:
        """Make the next lookup or status call fail."""
        self.world.api.fail(call, FAULTS[name])

    @rule()
    def ends_in_error(self) -> None:
        """Make the next backup end in error."""
        self.world.api.end_in_error("the driver said no")

    @precondition(lambda self: self.world.broker.dead)
    @rule(choice=st.integers(0, 100))
    def replay(self, choice: int) -> None:
        """Replay a dead letter."""
        letter = self.world.broker.dead.pop(choice % len(self.world.broker.dead))
        original, *_ = parse_message(letter.message, now=self.world.clock())
        event_id = _event_id(letter)
        self.replays[event_id] += 1
        fresh = State(self.world.clock(), replay=f"replay-{sum(self.replays.values())}")
        self.world.broker.publish(
            Message(wrap(original, fresh, event_id=event_id, keys=self.world.keys), CONTENT_TYPE)
        )

    @invariant()
    def no_second_backup(self) -> None:
        """Check that a snapshot gets a second backup only after a failed one and a replay."""
        for snapshot in self.asked.values():
            made = [each for each in self.world.api.backups if each.request.snapshot_id == snapshot]
            sound = [each for each in made if each.end == "available"]
            assert len(sound) <= 1, made
            assert len(made) <= 1 + sum(self.replays.values()), made

    @invariant()
    def one_end_for_each_event(self) -> None:
        """Check that an event that was never replayed has one terminal outcome with one id."""
        ends: dict[str, set[str]] = {event_id: set() for event_id in self.asked}
        for told in self.world.outcomes:
            if told.type in TERMINAL:
                ends[told.data.cause.id].add(told.id)
        for event_id, ids in ends.items():
            assert len(ids) <= 1 + self.replays[event_id], event_id

    def teardown(self) -> None:
        """End all faults, run until quiet, and check that no event was lost."""
        try:
            self.world.api.fail_no_more()
            self.run(self.world.until_swept())
            told = [json.loads(outcome.body) for outcome in self.world.outcomes]
            ended = {each["correlationid"] for each in told if each["type"] in TERMINAL}
            buried = {_event_id(letter) for letter in self.world.broker.dead if not letter.reason}
            assert set(self.asked) == ended | buried, "an event has no end"
            self.no_second_backup()
            self.one_end_for_each_event()
            accepted = {each["subject"] for each in told if each["type"] == ACCEPTED}
            made = {each.request.snapshot_id for each in self.world.api.backups}
            assert accepted <= made, "a backup that is not there was told"
            assert made - accepted <= self._given_up(), "a backup was not told"
        finally:
            self.run(self.world.aclose())
            self.loop.close()

    def _given_up(self) -> set[str]:
        """Return the snapshots that were dead-lettered as poison, so that no outcome can report their backup.

        A dead letter of the worker counts only if the ledger has no backup; one of the broker always counts.
        """
        buried, deadly = set(), set()
        for letter in self.world.broker.dead:
            snapshot = self.asked[_event_id(letter)]
            if not letter.reason:
                buried.add(snapshot)
            elif letter.reason.get("dl-code") == "poison" and not self._known(snapshot):
                deadly.add(snapshot)
        return buried | deadly

    def _known(self, snapshot: str) -> bool:
        row = self.loop.run_until_complete(self.world.ledger.look_up(Key(PROJECT, snapshot)))
        return row is not None and row.backup is not None


class Limited(Promises):
    """The same state machine with at most ``LIMIT`` backups in progress."""

    def __init__(self) -> None:
        super().__init__()
        self.loop.run_until_complete(self.world.aclose())
        self.world = World(kind="memory", selection=Selection((), (), max_running=LIMIT))

    @invariant()
    def not_too_many_in_progress(self) -> None:
        """Check that the API never makes more backups at once than may be."""
        api = self.world.api
        now = api.clock()
        assert LIMIT >= sum(made.at <= now < made.at + api.settle for made in api.backups)

    def teardown(self) -> None:
        """Check that no slot is left once all events have ended, and that none waits for one."""
        world, aclose = self.world, self.world.aclose

        async def counted() -> None:
            found = await world.ledger.running()
            await aclose()
            assert ({}, 0) == (found.groups, found.waiting)

        world.aclose = counted  # type: ignore[method-assign] # the last thing that a run does
        super().teardown()


class ClockIsSet(Promises):
    """The same state machine, with a wall clock that is set back and forth.

    It has no late commits, since the time since a lost call is measured by this clock.
    """

    late = False

    @rule(seconds=st.sampled_from([-3600.0, -60.0, -1.0, 1.0, 60.0, 3600.0]))
    def clock_is_set(self, seconds: float) -> None:
        """Set the clock back or forth, as for summer time."""
        self.world.clock.advance(seconds)


def test_the_promises_hold_if_the_clock_jumps(seed: int) -> None:
    """T25: the guarantees hold in 100 runs in which the clock jumps by up to an hour."""
    print(f"seed {seed}")
    _check(ClockIsSet, examples=100)


def test_the_promises_hold_in_any_order_of_events(seed: int) -> None:
    """No event is lost and each has one outcome and one backup, in 200 runs of up to 50 steps."""
    print(f"seed {seed}")
    _check(Promises, examples=200)


def test_the_promises_hold_with_a_limit_of_backups_in_progress(seed: int) -> None:
    """With ``MAX_RUNNING`` the guarantees hold, the limit is kept, and no slot is left, in 100 runs."""
    print(f"seed {seed}")
    _check(Limited, examples=100)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_the_promises_hold_in_many_runs(seed: int) -> None:
    """No event is lost and each has one outcome and one backup, in 5,000 runs."""
    print(f"seed {seed}")
    _check(Promises, examples=5_000)


def _event_id(letter: DeadLetter) -> str:
    original, *_ = parse_message(letter.message, now=0.0)
    return str(json.loads(original.body)["id"])


def _check(machine: type[Promises], *, examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_crash_is_no_error_that_code_can_catch() -> None:
    """A simulated crash passes through every ``except Exception``."""
    assert not issubclass(Crash, Exception)
