"""The command `infra/up`: the whole system on one machine.

It starts a broker, the API emulator, a worker and the console as processes, sends sample events and shows
their outcomes. With ``--once`` it starts no console. At the end it stops them: the worker before emulator and
broker, so that it can finish its messages.
"""

import asyncio
import dataclasses
import json
import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from handler.commands.command import Command
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
from infra.local.stage import WAIT_LADDER, Place, start_console, start_emulator, start_worker

ACCOUNTED: Final = "every event has its outcome"
UNACCOUNTED: Final = "some events have no outcome, or a wrong one"

KEPT: Final = "messages stay in the queues of the broker that AMQP_URL names"
GONE: Final = "the private broker ends too, with its messages"

MOST_PROBLEMS: Final = 20
FAILED: Final = 1
WRONG_SETTINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run sends, and whether it ends after the samples."""

    messages: Sequence[Sample]
    once: bool

    @property
    def events(self) -> int:
        """How many events the messages are of: second copies and other notifications add none."""
        return len({sample.event_id for sample in self.messages} - {None})


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: its counts, unless it ended earlier, its problems, and the exit code."""

    summary: Summary | None
    problems: Sequence[str]
    code: int = 0


def command(
    *,
    once: Annotated[bool, typer.Option("--once", help="Exit when every sample has its outcome.")] = False,
    events: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Send this many valid events instead of the samples."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the summary as one last line; other output goes to stderr."),
    ] = False,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the random ids of --events.")] = None,
) -> None:
    """Start a broker, the API emulator and a worker; send sample events and show their outcomes.

    Runs until Ctrl-C. Uses the broker of AMQP_URL if that is set, and the settings SNAPSHOT_QUEUE,
    SNAPSHOT_EXCHANGE, RESULT_EXCHANGE and QUEUE_TYPE. Exits with 1 if an event has no outcome.

    \b
    Examples:
      infra/up
      infra/up --once --json
      infra/up --once --events 500
    """
    seed = secrets.randbits(32) if seed is None else seed
    with displays.opened(json=as_json, many=(events or 0) > displays.MANY) as display:
        if events:
            display.say(f"seed {seed} (repeat with --seed {seed})")
        result = _run(lambda: Plan(list(generated(events, seed)) if events else samples(), once), display)
    if as_json and result.summary:
        print(json.dumps(dataclasses.asdict(result.summary)), flush=True)
    raise typer.Exit(result.code)


def _run(make_plan: Callable[[], Plan], display: Display) -> Result:
    """Run with a broker; show an error as one line, not as a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # pika also raises each error that it logs
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _settings()  # before a broker is started for nothing
        plan = make_plan()
        display.say(
            "connecting to the broker …" if os.environ.get("AMQP_URL", "").strip() else "starting a broker …"
        )
        with running_broker() as broker:
            display.say(f"broker: {broker.version} ({broker.kind})")
            return asyncio.run(_session(plan, broker, display))
    except KeyboardInterrupt:
        display.say("interrupted; all started programs have ended")
        return Result(None, ["interrupted"], FAILED)
    except (SettingsError, InUse) as error:
        display.say(f"settings: {error}")
        return Result(None, [str(error)], WRONG_SETTINGS)
    except (BrokerUnavailable, BrokerError, ChildEnded, TimeoutError) as error:
        display.say(f"failed: {error}")
        return Result(None, [str(error)], FAILED)


async def _session(plan: Plan, broker: Broker, display: Display) -> Result:
    """Start emulator and worker, do the run, and stop both."""
    settings = _settings(broker.url)
    async with AsyncExitStack() as stack:
        place = Place.made(stack)
        bus = await Bus.open(settings)
        stack.push_async_callback(bus.link.close)
        if broker.kind == "given":
            await bus.require_unused()
        emulator = await start_emulator(stack, place)
        dead_before = (await bus.depths()).dead
        run = Run(bus, emulator.api, display, total=plan.events, dead_before=dead_before)
        await bus.listen(run.on_outcome)
        worker = await start_worker(stack, place, settings, emulator.api.url, run.on_worker_line)
        display.say(f"emulator: {emulator.api.url} (pid {emulator.child.process.pid})")
        display.say(f"worker: pid {worker.process.pid}")
        children, hints = [worker, emulator.child], ""
        if not plan.once:
            console = await start_console(stack, place, settings, emulator.api.url)
            display.say(f"console: {console.url} (pid {console.child.process.pid})")
            children.append(console.child)
            hints = how_to_use(broker.url, emulator.api.url, place.ledger_url, console.url)
        queues = KEPT if broker.kind == "given" else GONE
        return await _Session(plan, run, display, bus, children, hints, queues).go()


def _settings(amqp_url: str | None = None) -> Settings:
    """Load the names of queues and exchanges from the environment; set the rest. Raises `SettingsError`."""
    return load_settings(_env_file=None, amqp_url=amqp_url, snapshot_bindings=(), wait_ladder=WAIT_LADDER)


@dataclass(frozen=True, slots=True)
class _Session:
    """A run of which all programs are started."""

    plan: Plan
    run: Run
    display: Display
    bus: Bus
    children: Sequence[Child]
    hints: str
    queues: str
    """What becomes of the messages in the broker's queues."""

    async def go(self) -> Result:
        """Send the samples, wait for their outcomes, and without `--once` run on until a signal."""
        counting = asyncio.gather(self.run.keep_counting(), self.run.keep_showing())
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
        interrupted = not playing.done() and not problems
        playing.cancel()
        with suppress(asyncio.CancelledError):
            try:
                await playing
            except (NoNews, BrokerError) as error:
                problems.append(str(error))
        await self.run.count()
        if interrupted:
            return self._interrupted()
        await self.run.list_backups()
        problems += self.run.problems()
        result = self._report(problems)
        self.display.update(self.run.counters())
        return result

    def _interrupted(self) -> Result:
        """Show how far the run came, and what becomes of the messages that are left."""
        summary, total = self.run.summary(), self.run.total
        ended = self.run.account.ended
        self.run.state = "interrupted"
        self.display.say(
            f"interrupted: {summary.sent:,} of {total:,} events sent, {summary.accepted:,} accepted, "
            f"{ended:,} with a terminal outcome, {summary.sent - ended:,} without; "
            f"{summary.backups:,} backups, {summary.dead:,} dead letters, {summary.waiting:,} waiting"
        )
        self.display.say(f"worker and emulator end now; {self.queues}")
        return Result(summary, ["interrupted"], FAILED)

    def _report(self, problems: Sequence[str]) -> Result:
        """Show the counts and problems of the run."""
        account, summary = self.run.account, self.run.summary()
        self.display.say(
            f"{account.messages} messages: {summary.sent} events, {account.copies} second copies, "
            f"{account.ignored_sent} other notifications (ignored)"
        )
        self.display.say(
            f"{summary.completed} completed, {summary.failed} failed, {summary.skipped} skipped; "
            f"{summary.backups} backups, {summary.dead} dead letters, {summary.waiting} waiting"
        )
        for problem in problems[:MOST_PROBLEMS]:
            self.display.say(f"problem: {problem}")
        if len(problems) > MOST_PROBLEMS:
            self.display.say(f"… and {len(problems) - MOST_PROBLEMS} more problems")
        self.run.state = UNACCOUNTED if problems else ACCOUNTED
        self.display.say(self.run.state)
        return Result(summary, problems, FAILED if problems else 0)

    async def _stay(self, stop: "asyncio.Task[Any]", result: Result) -> Result:
        self.run.state = f"{ACCOUNTED}; Ctrl-C stops everything"
        self.display.update(self.run.counters())
        self.display.pin(self.hints)
        await self._any_of(stop)
        if problems := self._broken():
            self.display.say(problems[0])
            return dataclasses.replace(result, problems=problems, code=FAILED)
        return result

    async def _any_of(self, *tasks: "asyncio.Task[Any]") -> None:
        """Wait until one of the tasks is done, or the connection or a program ends unexpectedly."""
        ends = {*tasks, self.bus.link.closed, *(child.ended for child in self.children)}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)

    def _broken(self) -> list[str]:
        """Return a problem for each program or connection that has ended unexpectedly."""
        broken = [str(child.failure()) for child in self.children if child.ended.done()]
        if self.bus.link.closed.done():
            broken.append(f"the connection to the broker is lost: {self.bus.link.closed.result()}")
        return broken


@contextmanager
def _stop_on_signals() -> Iterator["asyncio.Task[Any]"]:
    """Yield a task that ends at the first Ctrl-C or SIGTERM; a second signal has its usual effect."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        signalled.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, first)
    stop = asyncio.create_task(signalled.wait())
    try:
        yield stop
    finally:
        stop.cancel()
        for number in signals:
            loop.remove_signal_handler(number)


def main() -> None:
    """Run the command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=Command)(command)
    app(prog_name="infra/up")


if __name__ == "__main__":
    main()
