"""The command ``dead-letters replay``."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from events.state_keys import StateKeys
from handler import bootstrap
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import declare
from handler.commands.audited import audited_if_known
from handler.commands.common import AsJson, DryRun, Yes, confirm, fail, print_json, warn
from handler.commands.console import SafeConsole, at_terminal, console, progress_console
from handler.commands.dead_letters import options, view
from handler.commands.dead_letters.listing import SHOWN, count, groups_json
from handler.commands.values import checked, finite, readable_file
from handler.dead_letters.archive import ArchiveReader
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.filters import Filters
from handler.dead_letters.groups import Groups
from handler.dead_letters.queue_session import HeldDeadLetter, QueueSession
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes, record_outcomes
from handler.dead_letters.replaying import End, Replay
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import Settings
from handler.worker.worker import stop_on_signals

_REFRESH_SECONDS = 0.2
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")
_NO_KEY = (
    "STATE_KEYS: what is sent back is signed with a key of the workers, and the ledger that keeps it cannot "
    "be read: {}. Set LEDGER_URL to the workers' ledger, or set the same STATE_KEYS here and for all workers "
    "(make a key with: openssl rand -hex 32)"
)
_ENDS: dict[End, str] = {
    "stopped": "stopped by a signal; run the command again to continue",
    "failures": "stopped: too many replayed messages failed again; fix the cause, or raise --stop-at",
}
_OUTCOMES: dict[End, str] = {
    "done": "done",
    "stopped": "stopped",
    "failures": "stopped: too many failed again",
}
"""For the audit journal."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Which dead letters to replay, from where, and how fast."""

    filters: Filters
    limit: int | None
    file: Path | None
    rate: float | None
    stop_at: float | None
    wait: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a replay, with counts of the outcomes that have come so far."""

    end: End
    replayed: int = 0
    accepted: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    unfinished: int = 0


def _percentage(text: str) -> str:
    """Return a percentage as it was given, if it is one below 100."""
    found = _PERCENT.fullmatch(text.strip())
    if not found or float(found[1]) >= 100:
        raise ValueError(f"{text!r} is not a percentage below 100, such as 20%")
    return text


def replay_command(
    ids: options.Ids = None,
    categories: options.Categories = None,
    codes: options.Codes = None,
    projects: options.Projects = None,
    snapshots: options.Snapshots = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            callback=checked(readable_file),
            help="Replay from a file of `export` or `drop`, not from the queue; - is standard input.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.001, callback=checked(finite), help="At most this many per second."),
    ] = None,
    stop_at: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            callback=checked(_percentage),
            help="Stop when more than this share fails again, such as 20%.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the terminal outcome of each; Ctrl-C ends that.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Move dead letters back to the queue, where a worker handles each as a new message.

    Asks before it acts. Without a filter, all dead letters are replayed.

    If the command is interrupted, run it again: it continues with the rest. A
    snapshot that already has its backup gets no second one: the worker finds it
    in the ledger and publishes the outcome again.

    An accepted backup may still fail. With TRACK_BACKUPS, --wait and --stop-at go
    by the ends of the backups; set it here as the workers have it. With --wait the
    exit code is 1 if one fails again, or has no end when the waiting ends.
    """
    filters = options.filters(ids, categories, codes, projects, snapshots, since, until)
    request = ReplayRequest(filters, limit, file, rate, _fraction(stop_at), wait)

    async def work(settings: Settings, reader: ArchiveReader | None) -> Summary | None:
        keys = None if dry_run else await _state_keys(settings)
        async with options.queue_session(settings) as queue_session:
            if dry_run or not yes:
                groups, dead_letters = await _preview(queue_session, request, reader)
                queue = queue_session.topology.dead
                if dry_run and as_json:
                    _print_plan_json(groups, dead_letters)
                else:
                    _print_plan(view.out(error=as_json), groups, dead_letters, str(request.file or queue))
                if dry_run:
                    return None
                if not groups.total:
                    return Summary("done")
                await confirm(f"Replay {view.counted(groups.total)}?", yes=yes)
            about = options.about(filters, limit, file)
            async with audited_if_known(settings, "replay", about) as act:
                done = await _replay(queue_session, request, reader, keys, tracked=settings.track_backups)
                act.number, act.outcome = done.replayed, _OUTCOMES[done.end]
                return done

    async def work_on_file(settings: Settings) -> Summary | None:
        with ArchiveReader(request.file) if request.file else nullcontext() as reader:
            return await work(settings, reader)

    summary = options.run(work_on_file)
    if summary:
        _print(summary, as_json=as_json)
    if summary and summary.end != "done":
        raise fail(_ENDS[summary.end])
    if summary and wait and (summary.failed or summary.unfinished):
        raise typer.Exit(1)


def _fraction(text: str | None) -> float | None:
    if text is None:
        return None
    return float(text.strip().rstrip("%")) / 100


async def _state_keys(settings: Settings) -> StateKeys | None:
    """Return the keys that the workers verify. Raises ``SettingsError`` where they cannot be had here."""
    if settings.unauthenticated:
        warn(f"STATE_KEYS: {bootstrap.UNAUTHENTICATED}")
        return None
    url = settings.ledger_url.get_secret_value()
    if not settings.state_keys and url.startswith("sqlite:") and not sqlite_path(url).exists():
        raise SettingsError(_NO_KEY.format(f"{sqlite_path(url).absolute()} is not on this machine"))
    ledger = open_ledger(url, lease_seconds=settings.lease_seconds)
    try:
        return await bootstrap.state_keys(settings, ledger)
    except LedgerUnavailable as error:
        raise SettingsError(_NO_KEY.format(error)) from None
    finally:
        await ledger.aclose()


async def _preview(
    queue_session: QueueSession, request: ReplayRequest, reader: ArchiveReader | None
) -> tuple[Groups, list[DeadLetter]]:
    """Count the dead letters that would be replayed, and keep the first few."""
    if reader is None:
        return await count(queue_session, request.filters, keep=SHOWN, limit=request.limit)
    groups, dead_letters = Groups(), list[DeadLetter]()
    async for held in _from_file(reader, request):
        groups.add(held.dead_letter)
        if len(dead_letters) < SHOWN:
            dead_letters.append(held.dead_letter)
    return groups, dead_letters


async def _from_file(reader: ArchiveReader, request: ReplayRequest) -> AsyncIterator[HeldDeadLetter]:
    sent = 0
    for dead_letter in reader:
        if sent == request.limit:
            return
        if request.filters.matches(dead_letter):
            sent += 1
            yield HeldDeadLetter(dead_letter, _keep)


async def _keep() -> None:
    """Keep the dead letter in its file; an archive is never changed."""


async def _replay(
    queue_session: QueueSession,
    request: ReplayRequest,
    reader: ArchiveReader | None,
    keys: StateKeys | None,
    *,
    tracked: bool,
) -> Summary:
    stop, found = asyncio.Event(), ReplayOutcomes(request.stop_at, tracked=tracked)
    await declare(queue_session.connection, queue_session.topology)
    replay = Replay(
        outbox=BrokerOutbox(queue_session.connection, queue_session.topology, ignore_unroutable=False),
        exchange=queue_session.topology.queue,
        keys=keys,
        rate_limiter=RateLimiter(request.rate),
        replay_outcomes=found,
        stop=stop,
    )
    with stop_on_signals(stop):
        async with (
            record_outcomes(queue_session.connection, queue_session.topology, found),
            _progress_bar(replay, found),
        ):
            if reader:
                end = await replay.from_file(reader, _from_file(reader, request))
            else:
                end = await replay.from_queue(queue_session, request.filters, limit=request.limit)
            if end == "done" and request.wait:
                await found.wait_for_ends(stop)
            elif end == "done" and request.stop_at is not None:
                await found.wait_for_answers(stop)
            if end == "done" and found.too_many_failures:
                end = "failures"
    counts = (found.accepted, found.completed, found.failed, found.skipped, found.unfinished)
    return Summary(end, replay.sent, *counts)


@asynccontextmanager
async def _progress_bar(replay: Replay, replay_outcomes: ReplayOutcomes) -> AsyncIterator[None]:
    """Show the progress of the replay on a terminal."""
    err = progress_console()
    bar = Progress(
        TextColumn("read"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}, {task.fields[left]:,} left:"),
        TextColumn(
            "{task.fields[sent]:,} replayed, {task.fields[rate]:,.0f}/s, {task.fields[accepted]:,} accepted, "
            "{task.fields[ended]:,} completed, {task.fields[failed]:,} failed"
        ),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with bar if at_terminal() else nullcontext():
        task = asyncio.create_task(_update(bar, replay, replay_outcomes))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _update(bar: Progress, replay: Replay, replay_outcomes: ReplayOutcomes) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    task = bar.add_task("", total=None, left=0, sent=0, rate=0.0, accepted=0, ended=0, failed=0)
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        bar.update(
            task,
            total=replay.total,
            completed=replay.seen,
            left=replay.total - replay.seen,
            sent=replay.sent,
            rate=replay.sent / (loop.time() - start),
            accepted=replay_outcomes.accepted,
            ended=replay_outcomes.completed,
            failed=replay_outcomes.failed,
        )


def _print_plan_json(groups: Groups, dead_letters: list[DeadLetter]) -> None:
    facts = [dead_letter.facts() for dead_letter in dead_letters]
    print_json({"would_replay": groups.total, "groups": groups_json(groups), "messages": facts})


def _print_plan(out: SafeConsole, groups: Groups, dead_letters: list[DeadLetter], source: str) -> None:
    if not groups.total:
        out.print(f"{source}: no matching dead letters", markup=False)
        return
    view.print_groups(out, groups, source)
    view.print_dead_letters(out, dead_letters)


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(summary))
        return
    counts = [(summary.accepted, "accepted"), (summary.completed, "completed"), (summary.skipped, "skipped")]
    outcomes = [f"{number:,} {what}" for number, what in counts if number]
    outcomes += [f"{summary.failed:,} failed again"] if summary.failed or outcomes else []
    said = f"; outcomes so far: {', '.join(outcomes)}" if outcomes else ""
    left = f"; {summary.unfinished:,} without an end yet" if summary.unfinished else ""
    console().print(f"replayed {view.counted(summary.replayed)}{said}{left}")
