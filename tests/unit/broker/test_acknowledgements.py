"""Unit tests of ``Acknowledgements``, with a model of a broker's channel."""

import asyncio
from typing import Any, Literal, cast

from hypothesis import given
from hypothesis import strategies as st

from handler.broker.acknowledgements import Ack, Acknowledgements, acks

Step = tuple[Literal["deliver", "elsewhere", "done", "flush"], int]

STEPS = st.lists(
    st.tuples(st.sampled_from(["deliver", "deliver", "done", "done", "flush"]), st.integers(0, 99))
)
SHARED = st.lists(
    st.tuples(st.sampled_from(["deliver", "elsewhere", "done", "done", "flush"]), st.integers(0, 99))
)


class ModelChannel:
    """A channel as RabbitMQ sees it. A tag that is not outstanding any more ends it, as there."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.raw = self
        self.newest = 0
        self.outstanding: list[int] = []
        self.acknowledged: list[int] = []
        self.frames = 0

    def deliver(self) -> int:
        self.newest += 1
        self.outstanding.append(self.newest)
        return self.newest

    def basic_ack(self, tag: int, multiple: bool) -> None:
        assert tag in self.outstanding, f"PRECONDITION_FAILED - unknown delivery tag {tag}"
        taken = [each for each in self.outstanding if each == tag or (multiple and each < tag)]
        self.outstanding = [each for each in self.outstanding if each not in taken]
        self.acknowledged += taken
        self.frames += 1


def run(steps: list[Step]) -> ModelChannel:
    """Run the steps, then finish what is in hand; check after each step what the broker has been told."""

    async def body() -> ModelChannel:
        channel = ModelChannel()
        ours = Acknowledgements(cast("Any", channel))
        in_hand, done = list[int](), set[int]()

        def finish(number: int) -> None:
            tag = in_hand.pop(number % len(in_hand))
            done.add(tag)
            ours.add(tag)

        for step, number in steps:
            match step:
                case "deliver":
                    in_hand.append(channel.deliver())
                    ours.delivered(in_hand[-1])
                case "elsewhere":
                    channel.deliver()
                case "done" if in_hand:
                    finish(number)
                case "flush":
                    ours.flush()
            assert set(channel.acknowledged) <= done
        while in_hand:
            finish(0)
        await asyncio.sleep(0)
        assert sorted(done) == sorted(channel.acknowledged)
        return channel

    return asyncio.run(body())


@given(STEPS)
def test_what_is_done_and_nothing_else_is_acknowledged_once(steps: list[Step]) -> None:
    """Whatever is done in which order, the broker is told of each message once, and of none in hand."""
    assert [] == run(steps).outstanding


@given(SHARED)
def test_what_was_delivered_elsewhere_stays_outstanding(steps: list[Step]) -> None:
    """A message that another consumer of the channel has is never acknowledged."""
    assert sum(step == "elsewhere" for step, _ in steps) == len(run(steps).outstanding)


def test_one_frame_acknowledges_all_before_the_oldest_in_hand() -> None:
    """Messages that are newer than the oldest in hand are acknowledged each by itself."""
    assert [Ack(4, multiple=True), Ack(7), Ack(6)] == acks([2, 4, 3, 7, 6], oldest=5)


def test_messages_of_one_iteration_share_a_frame() -> None:
    """What is done in one iteration of the event loop takes one frame."""
    steps: list[Step] = [("deliver", 0), ("deliver", 0), ("deliver", 0), ("done", 0), ("done", 0)]
    assert 1 == run(steps).frames


def test_a_second_acknowledgement_of_a_message_is_ignored() -> None:
    """A tag that is acknowledged twice would have the broker close the channel."""

    async def body() -> None:
        channel = ModelChannel()
        ours = Acknowledgements(cast("Any", channel))
        ours.delivered(channel.deliver())
        for _ in range(2):
            ours.add(1)
            ours.flush()
        assert [1] == channel.acknowledged

    asyncio.run(body())
