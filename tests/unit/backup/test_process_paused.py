"""What becomes of messages while an operator has paused the queue, or their project."""

from dataclasses import dataclass, field

import pytest

from events.outcome import Category
from handler.backup.control import Control, Pause
from handler.backup.services import Services
from handler.errors import ApiError
from handler.ledger.ledger import StoredLedger
from tests.twins.api import CutAfter
from tests.twins.events import PROJECT, message
from tests.twins.world import World
from tests.unit.backup.handling import MADE, UNAVAILABLE, replayed, run, waits

ALL = Control(Pause(1.0, "upgrade"))
OTHER = Control(projects={"another": Pause(1.0)})
OURS = Control(projects={PROJECT: Pause(1.0)})
DAY = 86_400.0
LONG = 4000.0


@dataclass
class PausedWorld(World):
    """A world in which an operator can pause."""

    control: Control = field(default_factory=Control)

    def services(self, ledger: StoredLedger | None = None) -> Services:
        """Return services that know what the operator has set."""
        return super().services(ledger)._replace(control=lambda: self.control)

    @property
    def created(self) -> int:
        """How many requests for a backup were sent."""
        return len(self.api.backups)


@pytest.mark.parametrize("control", [ALL, OURS])
def test_a_new_event_waits_while_it_is_paused(control: Control) -> None:
    """No request is sent, and the event is backed up once after the pause."""
    world = PausedWorld(control=control)

    async def body() -> None:
        world.broker.publish(message(1))
        await world.run_for(LONG)
        assert (0, {"paused"}) == (world.created, set(waits(world)))
        world.control = Control()
        await world.until_quiet()

    run(body)
    assert (1, MADE) == (world.created, list(world.published()))


def test_the_events_of_other_projects_go_on() -> None:
    """The pause of one project concerns no other."""
    world = PausedWorld(control=OTHER)

    async def body() -> None:
        world.broker.publish(message(1))
        await world.until_quiet()

    run(body)
    assert MADE == list(world.published())


def test_a_pause_counts_no_attempt_and_no_time() -> None:
    """An event that was paused for longer than MAX_AGE does not expire at the next failure."""
    world = PausedWorld(control=ALL)

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.advance(3 * DAY)
        await world.deliver()
        world.control = Control()
        world.api.fail("create", UNAVAILABLE)
        await world.until_quiet()

    run(body)
    assert MADE == list(world.published())


def test_a_backup_in_progress_is_tracked_on() -> None:
    """The end of a backup that was accepted before the pause is published in the pause."""
    world = PausedWorld()
    world.api.settle = 3.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        assert ["backup.accepted"] == list(world.published())
        world.control = ALL
        await world.until_quiet()

    run(body)
    assert MADE == list(world.published())


def test_a_retry_waits_for_the_end_of_the_pause() -> None:
    """A message whose first try failed is not tried again in the pause, and its claim is given back."""
    world = PausedWorld()
    world.api.fail("create", ApiError(Category.CONFLICT, "busy", status=409))

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.control = ALL
        await world.run_for(LONG)
        assert (0, "paused") == (world.created, waits(world)[-1])
        world.control = Control()
        await world.until_quiet()

    run(body)
    assert (1, MADE) == (world.created, list(world.published()))


def test_a_call_in_doubt_stays_in_doubt_in_the_pause() -> None:
    """After the pause the backup is looked up before any second request."""
    world = PausedWorld()
    world.api.fail("create", CutAfter())

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.control = ALL
        await world.run_for(LONG)
        world.control = Control()
        await world.until_quiet()

    run(body)
    assert (1, MADE) == (world.created, list(world.published()))


def test_a_dead_letter_that_is_replayed_in_the_pause_waits_too() -> None:
    """It is handled once the pause has ended, and is stuck nowhere."""
    world = PausedWorld()
    world.api.fail("create", ApiError(Category.REFUSED, "no", status=400))

    async def body() -> None:
        await world.run(message(1))
        world.control = ALL
        world.broker.publish(replayed(message(1), world, "again"))
        await world.run_for(LONG)
        assert (0, ["backup.failed"]) == (world.created, list(world.published()))
        world.control = Control()
        await world.until_quiet()

    run(body)
    assert (1, ["backup.failed", *MADE]) == (world.created, list(world.published()))


def test_an_end_that_was_not_published_is_published_in_the_pause() -> None:
    """A worker ended after the backup was recorded: its outcome does not wait for the pause."""
    world = PausedWorld()
    world.steps.deadly = "before publish_outcome"

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.steps.deadly = None
        assert (1, []) == (world.created, list(world.published()))
        world.control = ALL
        await world.until_quiet()

    run(body)
    assert (1, MADE) == (world.created, list(world.published()))


def test_a_pause_that_is_shorter_than_a_delay_delays_no_longer() -> None:
    """An event that was delayed by a short pause comes back after the shortest delay."""
    world = PausedWorld(control=ALL)

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.control = Control()
        await world.run_for(world.settings.limits.delays[0] + 0.1)
        assert "backup.accepted" in world.published()

    run(body)
