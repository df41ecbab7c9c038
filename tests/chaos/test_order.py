"""T12: messages in any order and of any age lead to the same outcomes.

The messages are events, copies of events, replays, and delayed messages that have been handled before: a
broker may deliver all of these again. Hypothesis shuffles them.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.message import Message, State, wrap
from events.outcome import CONTENT_TYPE, AcceptedBackup, Category
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from tests.chaos.verdicts import TERMINAL
from tests.twins.api import CutAfter, CutBefore, Fault, Made, MemoryApi
from tests.twins.clock import START
from tests.twins.events import made_up_id, message
from tests.twins.world import KEYS, World

NUMBERS = range(7)
GOOD, CUT_AFTER, CUT_BEFORE, BUSY, REFUSED, IN_ERROR, SKIPPED = NUMBERS
FIRST_ANSWERS: dict[int, Sequence[Fault]] = {
    CUT_AFTER: [CutAfter()],
    CUT_BEFORE: [CutBefore()],
    BUSY: [ApiError(Category.CONFLICT, "backing-up", status=400, busy=True)] * 2,
    REFUSED: [ApiError(Category.REFUSED, "no", status=400)] * 1_000,
}
"""The errors that the API returns for a snapshot, in this order, before it makes a backup."""


@dataclass
class PlannedApi(MemoryApi):
    """An API whose answers depend on the snapshot, and not on the order of calls."""

    asked: Counter[int] = field(default_factory=Counter)

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        """Return the answer that is planned for the snapshot."""
        number = _number(request)
        answers, turn = FIRST_ANSWERS.get(number, ()), self.asked[number]
        self.asked[number] += 1
        if turn < len(answers):
            self.fail("create", answers[turn])
        elif number == IN_ERROR:
            self.end_in_error("the driver said no")
        return await super().create(project_id, request)

    def _make(self, project_id: str, request: BackupRequest, *, at: float) -> Made:
        """Make a backup with an id that is the same in two runs, so that outcomes can be compared."""
        made = super()._make(project_id, request, at=at)
        made.id = f"{request.snapshot_id}-{sum(each.request == request for each in self.backups)}"
        return made


def _number(request: BackupRequest) -> int:
    return next(number for number in NUMBERS if made_up_id("snapshot", number) == request.snapshot_id)


@dataclass(frozen=True)
class End:
    """The result of a run: the number of backups of each snapshot, and the terminal outcome of each event."""

    backups: Counter[str]
    told: dict[str, set[tuple[str, str]]]


def _event(number: int) -> Message:
    return message(number, **({"snapshot_name": "autobk_snapshot_1"} if number == SKIPPED else {}))


def _replay(number: int) -> Message:
    """Return the event as a replay sends it from the dead letters."""
    state = State(first_seen=START, replay="replay-1")
    event_id = made_up_id("event", number)
    return Message(wrap(_event(number), state, event_id=event_id, keys=KEYS), CONTENT_TYPE)


EVENTS = {f"event {number}": _event(number) for number in NUMBERS}
COPIES = {f"copy {number}": _event(number) for number in NUMBERS}
# The event whose backup ends in error is left out: its replay makes another backup, as intended.
REPLAYS = {f"replay {number}": _replay(number) for number in NUMBERS if number != IN_ERROR}
OLD: Mapping[str, Message | int] = {f"old {number}": number for number in range(0, 24, 3)}
"""Indexes into the messages that were delayed so far; the message at that index is delivered again."""
DELIVERIES: Mapping[str, Message | int] = {**EVENTS, **COPIES, **REPLAYS, **OLD}


async def _end(names: Sequence[str], batch: int, pause: float) -> End:
    """Deliver the messages in batches with pauses between, and run until quiet."""
    world = World()
    world.api = PlannedApi(world.steady, settle=10.0)
    world.start()
    waited: list[bytes] = []
    for name in names:
        delivery = DELIVERIES[name]
        if isinstance(delivery, Message):
            world.broker.publish(delivery)
        elif waited:
            world.broker.publish(Message(waited[delivery % len(waited)], CONTENT_TYPE))
        if len(world.broker.ready) >= batch:
            await world.deliver(batch)
            waited += [each.body for each in world.broker.waiting if each.body not in waited]
            world.advance(pause)
            world.broker.expire()
    await world.until_quiet(batch)
    await world.aclose()
    return _seen(world)


def _seen(world: World) -> End:
    told: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for each in world.outcomes:
        if each.type in TERMINAL:
            told[each.data.cause.id].add((each.type, each.id))
    return End(Counter(made.request.snapshot_id for made in world.api.backups), dict(told))


@pytest.fixture(scope="module")
def in_order() -> End:
    """Return the result of a run that handles each event once, one after the other."""
    return asyncio.run(_end(list(EVENTS), 1, 60.0))


def test_the_run_in_order_has_every_kind_of_outcome(in_order: End) -> None:
    """The run in order has one terminal outcome for each event, and all three kinds of outcome."""
    assert {made_up_id("event", number) for number in NUMBERS} == set(in_order.told)
    assert [1] * len(NUMBERS) == [len(ends) for ends in in_order.told.values()]
    assert set(TERMINAL) == {kind for ends in in_order.told.values() for kind, _ in ends}
    made = {made_up_id("snapshot", each) for each in (GOOD, CUT_AFTER, CUT_BEFORE, BUSY, IN_ERROR)}
    assert dict.fromkeys(made, 1) == in_order.backups


@settings(max_examples=100)
@given(
    names=st.permutations(list(DELIVERIES)),
    batch=st.integers(1, 4),
    pause=st.sampled_from([0.0, 1.0, 20.0]),
)
def test_reordered_and_replayed_messages_end_the_same(
    in_order: End, names: Sequence[str], batch: int, pause: float
) -> None:
    """T12: 100 permutations of events, copies, replays and old waiting messages end like the run in order."""
    assert in_order == asyncio.run(_end(names, batch, pause))
