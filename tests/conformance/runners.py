"""Runners: ways to run the program with the conformance cases. A new runner is a class with ``run``."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from handler.backup.ports import Snapshot
from handler.backup.services import MessageSettings
from handler.broker.properties import received, to_publish
from handler.errors import ApiError
from handler.vbs.faults import create_error, lookup_error
from infra.emulator.answers import FAULT_NAMES, fault_body
from infra.emulator.testing import Emulator
from tests.chaos.site import Site, wait_for
from tests.conformance.answers import refused_answers
from tests.conformance.cases import MAX_ATTEMPTS, Case, project
from tests.conformance.records import MAX_BYTES, Record, event_ids, records
from tests.forks import running_emulator
from tests.twins.api import Absent, CutAfter, CutBefore, Fault, LateCommit
from tests.twins.api import Call as ApiCall
from tests.twins.events import PROJECT
from tests.twins.instance import FunctionWorld
from tests.twins.world import KEYS, MESSAGE_SETTINGS, World

LedgerChoice = Literal["sqlite", "none"]
FOREVER = 50
ROUTES: Mapping[str, ApiCall] = {
    "create": "create",
    "list": "find",
    "show": "show",
    "snapshot": "show_snapshot",
}


UNREAD = frozenset(answer.template for answer in refused_answers())


class Runner(Protocol):
    """Runs cases and returns the record of each."""

    def run(self, cases: Sequence[Case]) -> Mapping[str, Record]:
        """Run the cases, together or one by one."""


@dataclass(frozen=True)
class MemoryRunner:
    """Runs each case in its own world of twins; ``as_function`` handles all its messages in one call."""

    ledger: LedgerChoice
    folder: Path
    as_function: bool = False

    def run(self, cases: Sequence[Case]) -> Mapping[str, Record]:
        """Run the cases one by one."""
        return {case.name: asyncio.run(self._run(case, number)) for number, case in enumerate(cases)}

    async def _run(self, case: Case, number: int) -> Record:
        folder = self.folder / str(number)
        folder.mkdir()
        limits = MESSAGE_SETTINGS.limits._replace(max_attempts=MAX_ATTEMPTS, max_age=86_400.0)
        world = self._world(folder, MESSAGE_SETTINGS._replace(limits=limits))
        # The emulator of the other runners also accepts snapshots that were not declared.
        world.api.snapshots = _Snapshots({each["id"]: _snapshot(each) for each in case.snapshots})
        for fault in case.faults:
            _put(world, fault)
        for message in case.as_published(KEYS):
            world.broker.publish(
                received(to_publish(message, message.headers), message.body, redelivered=False)
            )
        try:
            await self._handle(world, len(case.messages))
        finally:
            await world.aclose()
        return records(
            [case],
            [outcome.body for outcome in world.outcomes],
            [dead_letter.reason for dead_letter in world.broker.dead],
            [(made.project_id, made.request.snapshot_id) for made in world.api.backups],
        )[case.name]

    def _world(self, folder: Path, settings: MessageSettings) -> World:
        return World(kind=self.ledger, folder=folder, settings=settings)

    async def _handle(self, world: World, batch: int) -> None:
        await world.until_quiet(batch, as_function=self.as_function)


@dataclass(frozen=True)
class MemoryFunctionRunner(MemoryRunner):
    """Runs an instance of the function over twins, called with batches of bodies."""

    def _world(self, folder: Path, settings: MessageSettings) -> World:
        return FunctionWorld(kind=self.ledger, folder=folder, settings=settings)

    async def _handle(self, world: World, batch: int) -> None:
        assert isinstance(world, FunctionWorld)
        await world.until_done(batch)


class _Snapshots(dict[str, Snapshot]):
    """Snapshots by the emulator's rule: one that was not declared exists and is available."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key) or Snapshot(key, "", "available")


def _snapshot(declared: Mapping[str, Any]) -> Snapshot:
    name, metadata = declared.get("name"), declared.get("metadata", {})
    return Snapshot(declared["id"], declared["volume_id"], declared["status"], name=name, metadata=metadata)


def _put(world: World, fault: Mapping[str, Any]) -> None:
    """Set a fault of the emulator in the twin."""
    if fault["effect"] == "fail_later":
        world.api.end_in_error(fault["fail_reason"])
        return
    if fault["effect"] == "raw" and fault["body"] not in UNREAD:
        return
    world.api.fail(ROUTES[fault["route"]], *[_fault(fault)] * fault.get("times", FOREVER))


def _fault(fault: Mapping[str, Any]) -> Fault:
    match fault["effect"]:
        case "drop_before":
            return CutBefore()
        case "drop_after" | "garbage" | "raw":
            return CutAfter()
        case "late_commit":
            return LateCommit(fault["seconds"])
        case "status" if fault["status"] == 404 and fault["route"] == "show":
            return Absent()
        case _:
            return _answer(fault)


def _answer(fault: Mapping[str, Any]) -> ApiError:
    status = fault["status"]
    body = fault.get("body", fault_body(status, FAULT_NAMES.get(status, "")))
    raw = body.encode() if isinstance(body, str) else _json(body)
    read = create_error if fault["route"] == "create" else lookup_error
    headers = {key.lower(): value for key, value in fault.get("headers", {}).items()}
    return read(status, headers, raw)


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


class Seen(NamedTuple):
    """What left the program: bodies of outcomes, headers of dead letters, backups, and the workers' logs."""

    outcomes: Sequence[bytes]
    dead: Sequence[Mapping[str, Any]]
    backups: Sequence[tuple[str, str]]
    logs: Sequence[bytes]


@dataclass(frozen=True)
class WorkerRunner:
    """Runs all cases at once with a worker process, a real broker and the emulator over sockets."""

    ledger: LedgerChoice
    folder: Path
    amqp_url: str
    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    emulator: Mapping[str, Any] = field(default_factory=dict)
    python: Sequence[str] = ()
    """Import paths of the worker, before the project's own."""

    def run(self, cases: Sequence[Case]) -> Mapping[str, Record]:
        """Run the cases together: each has its own project, and its faults apply to that project only."""
        seen = self.collect(cases)
        return records(cases, seen.outcomes, seen.dead, seen.backups)

    def collect(self, cases: Sequence[Case]) -> "Seen":
        """Run the cases together, and return all that left the program."""
        with self._site() as site:
            site.emulator.declare_snapshots([each for case in cases for each in case.snapshots])
            site.emulator.set_faults(
                [{**fault, "project_id": project(case.name)} for case in cases for fault in case.faults]
            )
            with self._at_work(site):
                for case in cases:
                    site.publish(*case.as_published(site.state_keys))
                self._wait(site, cases)
            dead = [headers for headers, _ in site.rabbit.take_all(site.queues[-1])]
            backups = [(each["project_id"], each["snapshot_id"]) for each in site.emulator.backups()]
            site.sink.poll(0.3)
            return Seen(site.bodies(), dead, backups, [each.read_bytes() for each in site.logs.values()])

    @contextmanager
    def _at_work(self, site: Site) -> Iterator[None]:
        site.start_worker(python=self.python)
        yield
        site.stop()

    @contextmanager
    def _site(self) -> Iterator[Site]:
        settings = {
            "TRACK_BACKUPS": "true",
            "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            "MAX_BODY_BYTES": str(MAX_BYTES),
            "CONCURRENCY": "16",
            "VBS_PROJECT_ID": PROJECT,
            **self.settings,
        }
        if self.ledger == "none":
            settings["LEDGER_URL"] = "none"
        with (
            running_emulator(settle=0.2, **self.emulator) as emulator,
            Site(self.amqp_url, emulator, self.folder, self.name, _sign_in(settings, emulator)) as site,
        ):
            yield site

    def _wait(self, site: Site, cases: Sequence[Case]) -> None:
        """Wait until every expected terminal outcome is published and no message is left in a queue."""
        expected = {each for case in cases if case.expected for each in event_ids(case)}
        started = time.monotonic()
        site.wait_until_ended(seconds=120, events=expected)
        wait_for(lambda: not sum(site.unfinished().values()), seconds=60, what=site.counts)
        print(f"\n{len(cases)} cases at the broker, ledger {self.ledger}: {time.monotonic() - started:.1f} s")


def _sign_in(settings: Mapping[str, str], emulator: Emulator) -> Mapping[str, str]:
    """Return the settings, which sign in at the emulator if they have a password."""
    return {**settings, "OS_AUTH_URL": emulator.url} if "OS_PASSWORD" in settings else settings
