"""What every ledger notes in its journal, and how it is asked for it, over every store."""

from collections.abc import Sequence

import pytest

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Doubt, Finished, Granted, Key, Waiting
from handler.backup.result import recorded_skip
from handler.ledger.inquiry import StateFilter
from handler.ledger.journal import Entry
from handler.ledger.ledger import StoredLedger
from handler.ledger.row import STATES
from tests.conformance.ledger.conftest import Opener

pytestmark = pytest.mark.anyio

KEY = Key("p", "s")
BACKUP = AcceptedBackup(id="b1", name="nightly")
DONE = Finished(CompletedBackup(id="b1", status="available"), seconds=3.0)
ERROR = Failure(category=Category.BACKUP_ERROR, message="it ended in error")
NO = Failure(category=Category.QUOTA, status=413, code="VolumeBackup.0014", message="quota")
DOUBT = Doubt(since=100.0, lookups=0, lookup_after=105.0)


async def claimed(ledger: StoredLedger, key: Key = KEY, cause: str = "event") -> Granted:
    """Claim a snapshot and return the claim."""
    claim = await ledger.claim(key, cause)
    assert isinstance(claim, Granted)
    return claim


async def accepted(ledger: StoredLedger, key: Key = KEY) -> None:
    """Record an accepted backup."""
    await ledger.created(await claimed(ledger, key), BACKUP)


async def completed(ledger: StoredLedger, key: Key = KEY) -> None:
    """Record a completed backup."""
    await accepted(ledger, key)
    await ledger.finished(key, DONE, backup_id="b1", cause="event")


async def refused(ledger: StoredLedger, key: Key, failure: Failure = NO) -> None:
    """Record an event that failed."""
    await ledger.refused(await claimed(ledger, key), "event", failure, attempts=2)


async def journal(ledger: StoredLedger, key: Key = KEY) -> Sequence[Entry]:
    """Return a snapshot's entries."""
    found = await ledger.snapshots(key.snapshot_id, key.project_id)
    return found[0].journal if found else []


async def whats(ledger: StoredLedger, key: Key = KEY) -> Sequence[str]:
    """Return what a snapshot's entries say."""
    return [each.what for each in await journal(ledger, key)]


async def test_an_accepted_backup_has_one_entry(ledger: StoredLedger) -> None:
    """The entry names the backup and when the claim began; the claim itself has none."""
    await accepted(ledger)
    [entry] = await journal(ledger)
    assert ("accepted", "b1", KEY) == (entry.what, entry.backup_id, Key(entry.project_id, entry.snapshot_id))
    assert entry.began is not None
    assert entry.began <= entry.at


async def test_a_completed_backup_is_noted(ledger: StoredLedger) -> None:
    """Its entries tell of both steps; that it completed is noted once."""
    await completed(ledger)
    await ledger.finished(KEY, DONE, backup_id="b1", cause="event")
    assert ["accepted", "completed"] == await whats(ledger)


async def test_a_call_in_doubt_is_noted_with_each_lookup(ledger: StoredLedger) -> None:
    """Each lookup that found nothing has its number and when the next is due."""
    await ledger.doubt(await claimed(ledger), DOUBT)
    for number in (1, 2):
        await ledger.doubt(await claimed(ledger), Doubt(100.0, number, 105.0 + number))
    await accepted(ledger)
    found = await journal(ledger)
    assert ["in doubt", "looked up", "looked up", "accepted"] == [each.what for each in found]
    assert [(0, 105.0), (1, 106.0), (2, 107.0)] == [(each.number, each.due_at) for each in found[:3]]


async def test_a_failure_is_noted_with_category_code_and_event(ledger: StoredLedger) -> None:
    """A redelivery that records the same failure again adds no entry."""
    await refused(ledger, KEY)
    await ledger.give_up(KEY, "event", NO, attempts=2, tracked=False)
    [entry] = await journal(ledger)
    assert ("failed", "quota", "VolumeBackup.0014", "event", 2) == (
        entry.what,
        entry.reason,
        entry.code,
        entry.event_id,
        entry.number,
    )


async def test_a_backup_that_ended_in_error_is_noted(ledger: StoredLedger) -> None:
    """The entry names the backup."""
    await accepted(ledger)
    await ledger.finished(KEY, Finished(failure=ERROR), backup_id="b1", cause="event")
    entry = (await journal(ledger))[-1]
    assert ("failed", "backup_error", "b1") == (entry.what, entry.reason, entry.backup_id)


async def test_a_skip_and_a_release_are_noted(ledger: StoredLedger) -> None:
    """A skipped snapshot has an entry of its own kind, and so has a claim that was given back."""
    await ledger.release(await claimed(ledger))
    await refused(ledger, KEY, recorded_skip("the service's own"))
    assert ["released", "skipped"] == await whats(ledger)


async def test_a_claim_that_lapsed_is_noted(opener: Opener) -> None:
    """The next claim after a lease that ended notes it: a request may have left."""
    ledger = opener(0.0)
    await claimed(ledger)
    await claimed(ledger)
    assert ["claim lapsed"] == await whats(ledger)


async def test_a_renewal_has_no_entry(ledger: StoredLedger) -> None:
    """A claim that is held for long does not fill the journal."""
    await claimed(ledger)
    for _ in range(3):
        await ledger.renew()
    assert [] == await whats(ledger)


async def test_a_wait_and_its_end_are_noted(ledger: StoredLedger) -> None:
    """Each delay has its reason, number and time; the last entry says that the outcome is published."""
    await accepted(ledger)
    for number in (1, 2):
        await ledger.record_waiting(Waiting("m", b"body", 30.0, "track", number, "p", "s"))
    await ledger.forget_waiting("m")
    await ledger.forget_waiting("m")
    found = await journal(ledger)
    assert ["accepted", "waiting", "waiting", "published"] == [each.what for each in found]
    assert [("track", 1), ("track", 2)] == [(each.reason, each.number) for each in found[1:3]]
    assert found[1].due_at is not None
    assert 29 < found[1].due_at - found[1].at < 31


@pytest.mark.parametrize("text", ["\0", "é\N{SNOWMAN}", "x" * 5000, "'; DROP TABLE ledger"])
async def test_no_text_from_outside_keeps_a_change_from_the_ledger(ledger: StoredLedger, text: str) -> None:
    """A code that a database cannot store does not undo the record of the failure."""
    failure = Failure(category=Category.REFUSED, status=400, code=text, message="no")
    await ledger.give_up(KEY, "event", failure, attempts=1, tracked=False)
    [entry] = await journal(ledger)
    assert entry.code is not None
    assert entry.code.isprintable()
    assert len(entry.code) < 300


async def test_a_message_that_names_no_snapshot_has_no_entry(ledger: StoredLedger) -> None:
    """What is not parsed yet can wait all the same."""
    await ledger.record_waiting(Waiting("m", b"body", 30.0, "pause", 1))
    await ledger.forget_waiting("m")
    assert [] == list(await ledger.outcomes(0.0, by="hour"))


async def test_a_prune_forgets_the_sums(ledger: StoredLedger) -> None:
    """Sums that are older than the retention go with the rows."""
    await completed(ledger)
    await ledger.prune(3600.0)
    assert 2 == len(await ledger.outcomes(0.0, by="hour"))
    await ledger.prune(-7200.0)
    assert [] == list(await ledger.outcomes(0.0, by="hour"))


async def test_the_journal_keeps_its_last_entries(ledger: StoredLedger) -> None:
    """A snapshot whose message has waited thousands of times has a bounded text, whose end is kept."""
    await accepted(ledger)
    for number in range(400):
        await ledger.record_waiting(Waiting("m", b"body", 30.0, "track", number, "p", "s"))
    await ledger.forget_waiting("m")
    found = await journal(ledger)
    assert ("published", 399) == (found[-1].what, found[-2].number)
    assert 100 < len(found) < 400
    assert {"waiting", "published"} == {each.what for each in found}
    assert found[0].at > 1e9, "the entry that was broken off is left out"


async def test_snapshots_are_listed_by_state(ledger: StoredLedger) -> None:
    """Each state lists its snapshots and no other; several states are merged in the order of their times."""
    await claimed(ledger, Key("p", "claimed"))
    await ledger.doubt(await claimed(ledger, Key("p", "in doubt")), DOUBT)
    await accepted(ledger, Key("p", "accepted"))
    await completed(ledger, Key("p", "completed"))
    await refused(ledger, Key("p", "failed"))
    await refused(ledger, Key("p", "skipped"), recorded_skip("the service's own"))
    await ledger.release(await claimed(ledger, Key("p", "open")))
    for state in STATES:
        found = await ledger.list_states(StateFilter([state], 9))
        assert [state] == [each.key.snapshot_id for each in found.records]
        assert [state] == [each.row.standing for each in found.records]
    everything = await ledger.list_states(StateFilter(STATES, 9))
    assert [*STATES] == [each.key.snapshot_id for each in everything.records]


async def test_a_failure_and_a_skip_count_as_failed(ledger: StoredLedger) -> None:
    """One event was skipped and a later one failed: the snapshot is listed under the failure's category."""
    await refused(ledger, KEY, recorded_skip("the service's own"))
    await ledger.refused(await claimed(ledger, cause="later"), "later", NO, attempts=1)
    [found] = (await ledger.list_states(StateFilter(["failed"], 9, category="quota"))).records
    assert ("failed", "quota") == (found.row.standing, found.row.category)


@pytest.mark.parametrize("cause", ["doubt", "failure", "failures", '"failure":{"category":"quota"', "end"])
async def test_no_event_id_changes_where_a_snapshot_is_listed(ledger: StoredLedger, cause: str) -> None:
    """An event's id, which a producer chooses, is not mistaken for a part of the row."""
    await ledger.refused(
        await claimed(ledger, cause=cause),
        cause,
        Failure(category=Category.INVALID, message='"doubt":{"failure":{"category":"quota"'),
        attempts=1,
    )
    listed = await ledger.list_states(StateFilter(STATES, 9))
    [found] = (await ledger.list_states(StateFilter(["failed"], 9, category="invalid"))).records
    assert [("failed", "invalid")] == [(each.row.standing, each.row.category) for each in listed.records]
    assert found.key == KEY


async def test_lists_are_filtered_and_limited(ledger: StoredLedger) -> None:
    """By project, category and time; a limit says that there is more."""
    for number in range(3):
        await refused(ledger, Key("p", str(number)))
    await refused(ledger, Key("q", "3"), Failure(category=Category.INVALID, message="no"))

    async def listed(which: StateFilter) -> list[str]:
        return [each.key.snapshot_id for each in (await ledger.list_states(which)).records]

    failed = StateFilter(["failed"], 9)
    assert ["0", "1", "2", "3"] == await listed(failed)
    assert ["3", "2", "1", "0"] == await listed(failed._replace(oldest_first=False))
    assert ["3"] == await listed(failed._replace(project_id="q"))
    assert ["3"] == await listed(failed._replace(category="invalid"))
    assert ["0", "1", "2"] == await listed(failed._replace(category="quota"))
    second = (await ledger.list_states(failed)).records[1].row.updated_at
    assert ["1", "2", "3"] == await listed(failed._replace(since=second))
    assert ["0"] == await listed(failed._replace(until=second))
    found = await ledger.list_states(failed._replace(limit=2))
    assert (2, True) == (len(found.records), found.more)
    assert not (await ledger.list_states(failed._replace(limit=4))).more


async def test_outcomes_are_counted(ledger: StoredLedger) -> None:
    """Each recorded outcome counts once in its hour, its project and its category."""
    await completed(ledger, Key("p", "1"))
    await accepted(ledger, Key("q", "2"))
    await refused(ledger, Key("q", "3"))
    await refused(ledger, Key("q", "4"))
    by_project = {(each.group, each.what): each.number for each in await ledger.outcomes(0.0, by="project")}
    assert by_project == {
        ("p", "accepted"): 1,
        ("p", "completed"): 1,
        ("q", "accepted"): 1,
        ("q", "failed"): 2,
    }
    by_category = {(each.group, each.what): each.number for each in await ledger.outcomes(0.0, by="category")}
    assert by_category == {("", "accepted"): 2, ("", "completed"): 1, ("quota", "failed"): 2}
    assert 5 == sum(each.number for each in await ledger.outcomes(0.0, by="hour"))
    assert [] == list(await ledger.outcomes(1e11, by="hour"))


async def test_the_overview_counts_what_has_no_end(ledger: StoredLedger) -> None:
    """Each unsettled state has its number and its oldest; so has each reason of what waits."""
    await completed(ledger, Key("p", "1"))
    await accepted(ledger, Key("p", "2"))
    await accepted(ledger, Key("p", "3"))
    await ledger.record_waiting(Waiting("m", b"body", 30.0, "track", 1, "p", "2"))
    found = await ledger.overview(0.0)
    assert {"claimed": 0, "in doubt": 0, "accepted": 2} == {
        state: each.number for state, each in found.states.items()
    }
    oldest = found.states["accepted"].oldest
    assert oldest is not None
    assert oldest <= found.as_of
    assert {"track": 1} == {reason: each.number for reason, each in found.waiting.items()}
    assert {"accepted": 3, "completed": 1} == {each.what: each.number for each in found.outcomes}


async def test_a_report_counts_each_snapshot_once(ledger: StoredLedger) -> None:
    """By where it stands now: one that failed and then completed is backed up. What only waits counts too."""
    await refused(ledger, Key("p", "1"))
    await ledger.created(await claimed(ledger, Key("p", "1"), "later"), BACKUP)
    await ledger.finished(Key("p", "1"), DONE, backup_id="b1", cause="later")
    await refused(ledger, Key("q", "2"))
    for name in ("m", "n"):
        await ledger.record_waiting(Waiting(name, b"body", 30.0, "pause", 1, "q", "3"))
    await ledger.record_waiting(Waiting("o", b"body", 30.0, "retry", 1, "q", "2"))
    by_project = {(each.group, each.what): each.number for each in await ledger.report(0.0, by="project")}
    assert by_project == {("p", "completed"): 1, ("q", "failed"): 1, ("q", "waiting"): 1}
    by_category = {(each.group, each.what): each.number for each in await ledger.report(0.0, by="category")}
    assert by_category == {("", "completed"): 1, ("quota", "failed"): 1, ("", "waiting"): 1}
    assert 3 == sum(each.number for each in await ledger.report(0.0, by="hour"))
    assert ["q"] == sorted({each.group for each in await ledger.report(0.0, by="project", project_id="q")})
    assert [] == list(await ledger.report(1e11, by="project"))
