"""Conformance of the API's implementations: the client with the emulator, and the twin in memory.

Message handling is tested with the twin, so the twin must behave like the client.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import pytest

from events.outcome import Category
from handler.backup.ports import Api, Backup, Chain, Snapshot
from handler.backup.request import BackupRequest, derived_name
from handler.errors import ApiError
from handler.vbs.client import VbsClient
from infra.emulator.testing import Emulator, running_emulator
from tests.twins.api import CutAfter, CutBefore, LateCommit, MemoryApi

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
OTHER_PROJECT = "0d2c4b6a1f3e4d5c9b7a60f1e2d3c4b6"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
OTHER_VOLUME = "1e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b41"
OTHER_SNAPSHOT = "c7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f9"
NOWHERE = "00000000-0000-4000-8000-000000000000"
NAME = derived_name("nightly", SNAPSHOT)
REQUEST = BackupRequest(volume_id=VOLUME, snapshot_id=SNAPSHOT, name=NAME)
SETTLE = 0.05

C = Category
LATE = 0.3
ScopedFailure = Literal["cut_before", "cut_after", "late_commit", "refuse", "fail_later"]


@dataclass
class Implementation:
    """One implementation, with functions to make its ``Api``, inject a fault, and count the backups."""

    make: Callable[[], Api]
    inject: Callable[[Literal["create", "list", "show"], ScopedFailure], None]
    made: Callable[[], int]

    def use(self, scenario: Callable[[Api], Awaitable[Any]]) -> Any:
        """Run a scenario with a new ``Api``."""

        async def run() -> Any:
            api = self.make()
            try:
                return await scenario(api)
            finally:
                await api.aclose()

        return asyncio.run(run())


def _in_memory() -> Implementation:
    api = MemoryApi(time.time, settle=SETTLE)
    api.snapshots[SNAPSHOT] = Snapshot(id=SNAPSHOT, volume_id=VOLUME, status="available")
    refusal = ApiError(Category.UNAVAILABLE, "no service", status=503)
    faults: dict[ScopedFailure, object] = {
        "cut_before": CutBefore(),
        "cut_after": CutAfter(),
        "late_commit": LateCommit(LATE),
        "refuse": refusal,
    }
    calls = {"create": "create", "list": "find", "show": "show"}

    def inject(route: str, what: ScopedFailure) -> None:
        if what == "fail_later":
            api.end_in_error("no space")
            return
        api.fail(calls[route], faults[what])  # type: ignore[arg-type] # both tables are written above

    return Implementation(lambda: api, inject, lambda: len(api.backups))


def _emulated(emulator: Emulator) -> Implementation:
    emulator.declare_snapshots([{"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT}])
    faults: dict[ScopedFailure, dict[str, object]] = {
        "cut_before": {"effect": "drop_before"},
        "cut_after": {"effect": "drop_after"},
        "late_commit": {"effect": "late_commit", "seconds": LATE},
        "refuse": {"effect": "status", "status": 503},
        "fail_later": {"effect": "fail_later", "fail_reason": "no space"},
    }

    def inject(route: str, what: ScopedFailure) -> None:
        emulator.set_faults([{"route": route, "times": 1, **faults[what]}])

    def make() -> Api:
        return VbsClient(httpx.AsyncClient(trust_env=False), emulator.url)

    return Implementation(make, inject, lambda: len(emulator.backups()))


@pytest.fixture(params=["memory", "emulator"])
def implementation(request: pytest.FixtureRequest) -> Iterator[Implementation]:
    """Yield each implementation in turn."""
    if request.param == "memory":
        yield _in_memory()
        return
    with running_emulator(settle=SETTLE, strict=True) as emulator:
        yield _emulated(emulator)


async def _settled(api: Api, backup_id: str) -> Backup:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        backup = await api.show(PROJECT, backup_id)
        if backup is not None and backup.status != "creating":
            return backup
        await asyncio.sleep(0.01)
    raise AssertionError("the backup did not settle")


async def _find(api: Api) -> list[Backup]:
    return list(await api.find(PROJECT, VOLUME, SNAPSHOT, NAME))


async def _found(api: Api) -> list[Backup]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if backups := await _find(api):
            return backups
        await asyncio.sleep(0.01)
    raise AssertionError("no backup appeared")


def test_a_backup_is_creating_and_then_available(implementation: Implementation) -> None:
    """After a 202 the backup is still creating; ``show`` returns its final status."""

    async def scenario(api: Api) -> tuple[str, str | None, str]:
        accepted = await api.create(PROJECT, REQUEST)
        first = await api.show(PROJECT, accepted.id)
        assert first is not None
        return first.status, accepted.name, (await _settled(api, accepted.id)).status

    assert ("creating", NAME, "available") == implementation.use(scenario)


def test_creates_are_not_deduplicated_and_the_oldest_is_first(implementation: Implementation) -> None:
    """A second create makes a second backup, and ``find`` returns the oldest first."""

    async def scenario(api: Api) -> bool:
        ids = []
        for _ in range(2):
            ids.append((await api.create(PROJECT, REQUEST)).id)
            await _settled(api, ids[-1])
        return ids == [backup.id for backup in await _find(api)]

    assert (True, 2) == (implementation.use(scenario), implementation.made())


def test_a_created_backup_is_found_with_its_ids(implementation: Implementation) -> None:
    """``find`` returns volume, snapshot and name as they were sent."""

    async def scenario(api: Api) -> list[tuple[str | None, str | None, str | None]]:
        await api.create(PROJECT, REQUEST)
        return [(b.volume_id, b.snapshot_id, b.detail.name) for b in await _find(api)]

    assert [(VOLUME, SNAPSHOT, NAME)] == implementation.use(scenario)


def test_another_snapshot_or_project_finds_no_backup(implementation: Implementation) -> None:
    """A lookup for another snapshot of the same volume, or for another project, finds no backup."""

    async def scenario(api: Api) -> list[int]:
        await api.create(PROJECT, REQUEST)
        name = derived_name("nightly", OTHER_SNAPSHOT)
        return [
            len(await api.find(PROJECT, VOLUME, OTHER_SNAPSHOT, name)),
            len(await api.find(OTHER_PROJECT, VOLUME, SNAPSHOT, NAME)),
        ]

    assert [0, 0] == implementation.use(scenario)


@pytest.mark.parametrize(("what", "made"), [("cut_before", 0), ("cut_after", 1)])
def test_a_cut_create_is_in_doubt_and_a_lookup_resolves_it(
    implementation: Implementation, what: ScopedFailure, made: int
) -> None:
    """A create without an answer is in doubt, and a lookup finds the backup only if it was made."""
    implementation.inject("create", what)

    async def scenario(api: Api) -> tuple[Category, int]:
        with pytest.raises(ApiError) as caught:
            await api.create(PROJECT, REQUEST)
        return caught.value.category, len(await _find(api))

    assert (C.IN_DOUBT, made) == implementation.use(scenario)
    assert made == implementation.made()


def test_a_late_commit_is_absent_first_and_found_later(implementation: Implementation) -> None:
    """A backup that is committed late is absent from the first lookup, and found later."""
    implementation.inject("create", "late_commit")

    async def scenario(api: Api) -> tuple[Category, int, int]:
        with pytest.raises(ApiError) as caught:
            await api.create(PROJECT, REQUEST)
        first = len(await _find(api))
        return caught.value.category, first, len(await _found(api))

    assert (C.IN_DOUBT, 0, 1) == implementation.use(scenario)


def test_a_refused_create_makes_no_backup_and_the_next_succeeds(implementation: Implementation) -> None:
    """A create that is answered with 503 makes no backup, and the next create makes one."""
    implementation.inject("create", "refuse")

    async def scenario(api: Api) -> Category:
        with pytest.raises(ApiError) as caught:
            await api.create(PROJECT, REQUEST)
        await api.create(PROJECT, REQUEST)
        return caught.value.category

    assert (C.UNAVAILABLE, 1) == (implementation.use(scenario), implementation.made())


@pytest.mark.parametrize("what", ["cut_before", "refuse"])
def test_a_failed_lookup_is_an_error(implementation: Implementation, what: ScopedFailure) -> None:
    """A failed lookup raises an error, since it does not prove that there is no backup."""
    implementation.inject("list", what)

    async def scenario(api: Api) -> Category:
        with pytest.raises(ApiError) as caught:
            await _find(api)
        return caught.value.category

    assert C.UNAVAILABLE == implementation.use(scenario)


def test_an_unknown_backup_or_snapshot_is_none(implementation: Implementation) -> None:
    """For an id that does not exist, ``show`` and ``show_snapshot`` return None."""

    async def scenario(api: Api) -> tuple[object, object]:
        return await api.show(PROJECT, NOWHERE), await api.show_snapshot(PROJECT, NOWHERE)

    assert (None, None) == implementation.use(scenario)


def test_a_snapshot_is_shown(implementation: Implementation) -> None:
    """``show_snapshot`` returns status and volume, against which an event is checked."""

    async def scenario(api: Api) -> tuple[str, str]:
        snapshot = await api.show_snapshot(PROJECT, SNAPSHOT)
        assert snapshot is not None
        return snapshot.status, snapshot.volume_id

    assert ("available", VOLUME) == implementation.use(scenario)


def test_a_volume_has_a_chain_once_a_backup_is_available(implementation: Implementation) -> None:
    """``chain`` has a backup once it is available; before, it is in progress and no parent."""

    async def scenario(api: Api) -> list[Chain]:
        asked = [await api.chain(PROJECT, VOLUME)]
        accepted = await api.create(PROJECT, REQUEST)
        asked.append(await api.chain(PROJECT, VOLUME))
        await _settled(api, accepted.id)
        return [*asked, await api.chain(PROJECT, VOLUME)]

    assert [Chain(), Chain(in_progress=True), Chain(1, 1)] == implementation.use(scenario)


def test_a_full_backup_counts_for_its_own_volume_and_project(implementation: Implementation) -> None:
    """A full backup does not count for another volume or project."""

    async def scenario(api: Api) -> list[Chain]:
        await _settled(api, (await api.create(PROJECT, REQUEST)).id)
        return [
            await api.chain(PROJECT, OTHER_VOLUME),
            await api.chain(OTHER_PROJECT, VOLUME),
        ]

    assert [Chain(), Chain()] == implementation.use(scenario)


def test_a_full_backup_in_error_is_not_a_parent(implementation: Implementation) -> None:
    """A backup in error does not count as a full backup, since no incremental one can build on it."""
    implementation.inject("create", "fail_later")

    async def scenario(api: Api) -> tuple[str, Chain]:
        made = await _settled(api, (await api.create(PROJECT, REQUEST)).id)
        return made.status, await api.chain(PROJECT, VOLUME)

    assert ("error", Chain()) == implementation.use(scenario)


@pytest.mark.parametrize("what", ["cut_before", "refuse"])
def test_a_failed_lookup_of_the_chain_is_an_error(
    implementation: Implementation, what: ScopedFailure
) -> None:
    """A failed lookup of the chain raises an error, since the result is unknown."""
    implementation.inject("list", what)

    async def scenario(api: Api) -> Category:
        with pytest.raises(ApiError) as caught:
            await api.chain(PROJECT, VOLUME)
        return caught.value.category

    assert C.UNAVAILABLE == implementation.use(scenario)
