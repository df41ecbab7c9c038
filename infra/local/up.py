"""The whole system on one machine: `infra/up`.

A broker, the API emulator and a worker, each a process of its own; sample events go in, and what becomes of
each is shown. Everything started here ends with it: the worker first, so that it can finish what it has in
hand, then the emulator, then the broker.
"""

import asyncio
import dataclasses
import json
import logging
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer
from pydantic import SecretStr

from handler.errors import BrokerError, SettingsError
from handler.settings import Settings, load_settings
from infra.local import display as displays
from infra.local.account import Summary
from infra.local.broker import Broker, running_broker
from infra.local.bus import Bus, InUse
from infra.local.child import Child, ChildEnded
from infra.local.display import Display
from infra.local.hints import how_to_use
from infra.local.ready import BrokerUnavailable
from infra.local.run import NoNews, Run
from infra.local.samples import Sample, generated, samples
from infra.local.stage import WAIT_LADDER, Place, start_emulator, start_worker

ACCOUNTED: Final = "every event is accounted for"
UNACCOUNTED: Final = "not every event is accounted for"

MOST_PROBLEMS: Final = 20
FAILED: Final = 1
WRONG_SETTINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and whether to stay."""

    messages: Sequence[Sample]
    once: bool


@dataclass(frozen=True, slots=True)
class Result:
    """How it went: the figures, if it came so far, and what is wrong."""

    summary: Summary | None
    problems: Sequence[str]
    code: int = 0


def command(
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the samples.")] = False,
    events: Annotated[
        int | None, typer.Option(min=1, help="Send so many good events instead of the samples.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one last line; all else goes to stderr.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Repeats the ids that --events makes up.")] = None,
) -> None:
    """Start a broker, the API emulator and a worker; send sample events and show what becomes of each.

    Stays up until Ctrl-C. Uses the broker AMQP_URL where that is set, and the names of SNAPSHOT_QUEUE,
    SNAPSHOT_EXCHANGE, RESULT_EXCHANGE and QUEUE_TYPE. Exit 1 if any event is unaccounted for.

    Examples:

      infra/up

      infra/up --once --json

      infra/up --once --events 500
    """
    seed = secrets.randbits(32) if seed is None else seed
    plan = Plan(list(generated(events, seed)) if events else samples(), once)
    with displays.opened(json=as_json, many=len(plan.messages) > displays.MANY) as display:
        if events:
            display.say(f"seed {seed} (repeat with --seed {seed})")
        result = _run(plan, display)
    if as_json and result.summary:
        print(json.dumps(dataclasses.asdict(result.summary)), flush=True)
    raise typer.Exit(result.code)


def _run(plan: Plan, display: Display) -> Result:
    """Run it with a broker, and say in plain words what stands in the way."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it tells comes as an exception too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        display.say("starting a broker …")
        with running_broker() as broker:
            display.say(f"broker: {broker.version} ({broker.kind})")
            return asyncio.run(_session(plan, broker, display))
    except KeyboardInterrupt:
        display.say("interrupted; everything has been ended")
        return Result(None, ["interrupted"], FAILED)
    except (SettingsError, InUse) as error:
        display.say(f"settings: {error}")
        return Result(None, [str(error)], WRONG_SETTINGS)
    except (BrokerUnavailable, BrokerError, ChildEnded, TimeoutError) as error:
        display.say(f"failed: {error}")
        return Result(None, [str(error)], FAILED)


async def _session(plan: Plan, broker: Broker, display: Display) -> Result:
    """Start the rest, do the run, and end what was started."""
    settings = _settings(broker)
    async with AsyncExitStack() as stack:
        place = Place.made(stack)
        bus = await Bus.open(settings)
        stack.push_async_callback(bus.link.close)
        if broker.kind == "given":
            await bus.require_unused()
        emulator = await start_emulator(stack, place)
        run = Run(bus, emulator.api, display, dead_before=(await bus.depths()).dead)
        await bus.listen(run.on_outcome)
        worker = await start_worker(stack, place, settings, emulator.api.url, run.on_worker_line)
        display.say(f"emulator: {emulator.api.url} (pid {emulator.child.process.pid})")
        display.say(f"worker: pid {worker.process.pid}")
        hints = how_to_use(broker.url, emulator.api.url)
        return await _Session(plan, run, display, bus, (worker, emulator.child), hints).go()


def _settings(broker: Broker) -> Settings:
    """The names are those of the shell; the rest is ours. Raises `SettingsError`."""
    return load_settings(
        _env_file=None,
        amqp_url=tuple(SecretStr(url.strip()) for url in broker.url.split(",")),
        snapshot_bindings=(),
        wait_ladder=WAIT_LADDER,
    )


@dataclass(frozen=True, slots=True)
class _Session:
    """A run with everything started."""

    plan: Plan
    run: Run
    display: Display
    bus: Bus
    children: Sequence[Child]
    hints: str

    async def go(self) -> Result:
        """Send the samples, settle the account, and stay until a signal where that is wanted."""
        counting = asyncio.create_task(self.run.keep_counting())
        with _stop_on_signals() as stop:
            try:
                result = await self._play(stop)
                if not self.plan.once and not result.code:
                    result = await self._stay(stop, result)
            finally:
                counting.cancel()
                await asyncio.gather(counting, return_exceptions=True)
        return result

    async def _play(self, stop: "asyncio.Task[Any]") -> Result:
        playing = asyncio.create_task(self.run.play(self.plan.messages))
        await self._any_of(playing, stop)
        problems = self._broken()
        if not playing.done():
            playing.cancel()
            problems += [] if problems else ["interrupted"]
        with suppress(asyncio.CancelledError):
            try:
                await playing
            except (NoNews, BrokerError) as error:
                problems.append(str(error))
        await self.run.count()
        problems += self.run.problems()
        result = self._told(problems)
        self.display.update(self.run.counters())
        return result

    def _told(self, problems: Sequence[str]) -> Result:
        """Say how it went."""
        account, summary = self.run.account, self.run.summary()
        self.display.say(
            f"{account.messages} messages: {summary.sent} events, {account.copies} second copies, "
            f"{account.ignored_sent} of other things (ignored)"
        )
        self.display.say(
            f"{summary.completed} completed, {summary.failed} failed, {summary.skipped} skipped; "
            f"{summary.backups} backups, {summary.dead} dead letters, {summary.waiting} waiting"
        )
        for problem in problems[:MOST_PROBLEMS]:
            self.display.say(f"unaccounted for: {problem}")
        if len(problems) > MOST_PROBLEMS:
            self.display.say(f"… and {len(problems) - MOST_PROBLEMS} more")
        self.run.state = UNACCOUNTED if problems else ACCOUNTED
        self.display.say(self.run.state)
        return Result(summary, problems, FAILED if problems else 0)

    async def _stay(self, stop: "asyncio.Task[Any]", result: Result) -> Result:
        self.run.state = f"{ACCOUNTED}; Ctrl-C ends all of this"
        self.display.update(self.run.counters())
        self.display.pin(self.hints)
        await self._any_of(stop)
        if problems := self._broken():
            self.display.say(problems[0])
            return dataclasses.replace(result, problems=problems, code=FAILED)
        return result

    async def _any_of(self, *tasks: "asyncio.Task[Any]") -> None:
        """Wait for one of these, or for something that should not end."""
        ends = {*tasks, self.bus.link.closed, *(child.ended for child in self.children)}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    def _broken(self) -> list[str]:
        """Say what has ended that should not have."""
        broken = [str(child.failure()) for child in self.children if child.ended.done()]
        if self.bus.link.closed.done():
            broken.append(f"the broker is gone: {self.bus.link.closed.result()}")
        return broken


@contextmanager
def _stop_on_signals() -> Iterator["asyncio.Task[Any]"]:
    """Give a task that is done at the first Ctrl-C or SIGTERM; the second one does what signals do."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        told.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, first)
    stop = asyncio.create_task(told.wait())
    try:
        yield stop
    finally:
        stop.cancel()
        for number in signals:
            loop.remove_signal_handler(number)


def main() -> None:
    """Run the command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app(prog_name="infra/up")


if __name__ == "__main__":
    main()
