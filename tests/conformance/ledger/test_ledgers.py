"""What every ledger promises, over every store. The rules: ``tests.unit.ledger.test_rules``."""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import replace

import pytest

from events.outcome import AcceptedBackup, BackupLink, Category, CompletedBackup, Failure
from handler.backup.ports import Busy, Claim, Created, Doubt, Finished, Granted, Key
from handler.errors import LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from handler.ledger.row import Row, RowState
from tests.conformance.ledger.conftest import Opener
from tests.patience import patient

pytestmark = pytest.mark.anyio

KEY = Key("project", "snapshot")
BACKUP = AcceptedBackup(id="b1", name="näme ☃", links=(BackupLink(href="https://h/b1", rel="self"),))
DONE = Finished(backup=CompletedBackup(id="b1", status="available", size=4), seconds=5.25, attempts=2)
NO = Failure(category=Category.REFUSED, status=400, code="X", message="no\x00\n'\"", request_id="r")
BROKEN = Finished(failure=Failure(category=Category.BACKUP_ERROR, message="broken"), attempts=1)
SHORT = 0.2
DAY = 86400.0


async def granted(
    ledger: StoredLedger, key: Key = KEY, cause: str = "first", *, replay: bool = False
) -> Granted:
    """Claim a snapshot whose claim must be granted."""
    claim = await ledger.claim(key, cause, replay=replay)
    assert isinstance(claim, Granted)
    return claim


async def once_free(ledger: StoredLedger) -> Granted:
    """Claim as soon as the previous lease has ended."""
    deadline = time.monotonic() + patient(10)
    while not isinstance(claim := await ledger.claim(KEY, "first"), Granted):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return claim


async def test_first_claim_is_granted(ledger: StoredLedger) -> None:
    """A first claim has no doubt and no failed backups, and needs no question to the API."""
    claim = await granted(ledger)
    assert Granted(KEY, claim.token) == claim


async def test_second_claim_is_busy(ledger: StoredLedger) -> None:
    """A second claim is answered busy, at most until the lease ends."""
    await granted(ledger)
    claim = await ledger.claim(KEY, "second")
    assert isinstance(claim, Busy)
    assert 0 < claim.until - time.time() < 61


async def test_keys_are_apart(ledger: StoredLedger) -> None:
    """The same snapshot id in another project is another snapshot, and so is another id."""
    await granted(ledger)
    await granted(ledger, Key("project", "other"))
    await granted(ledger, Key("other", "snapshot"))


async def test_one_of_many_concurrent_claims_is_granted(ledger: StoredLedger) -> None:
    """Of fifty claims on one key that arrive together, one is granted."""
    claims = await asyncio.gather(*(ledger.claim(KEY, str(number)) for number in range(50)))
    assert Counter({Busy: 49, Granted: 1}) == Counter(type(claim) for claim in claims)


async def test_released_claim_is_free(ledger: StoredLedger) -> None:
    """A released claim is granted again, without a doubt."""
    await ledger.release(await granted(ledger))
    assert (await granted(ledger, cause="second")).doubt is None


async def test_lapsed_lease_is_in_doubt(opener: Opener) -> None:
    """A claim after an expired lease is in doubt: its holder may have sent the request."""
    ledger = opener(SHORT)
    await granted(ledger)
    doubt = (await once_free(ledger)).doubt
    assert doubt is not None
    assert (0, doubt.since) == (doubt.lookups, doubt.lookup_after)


async def test_lapsed_lease_forgets_earlier_lookups(opener: Opener) -> None:
    """Lookups before a second call say nothing about that call."""
    ledger = opener(SHORT)
    await ledger.doubt(await granted(ledger), Doubt(1.0, 9, 2.0))
    assert Doubt(1.0, 9, 2.0) == (await granted(ledger)).doubt
    doubt = (await once_free(ledger)).doubt
    assert doubt is not None
    assert doubt.lookups == 0


async def test_doubt_is_handed_on(ledger: StoredLedger) -> None:
    """The next claim gets the doubt unchanged."""
    doubt = Doubt(since=1700000000.125, lookups=2, lookup_after=1700000030.5)
    await ledger.doubt(await granted(ledger), doubt)
    assert doubt == (await granted(ledger, cause="second")).doubt


async def test_created_backup_is_the_answer_to_a_claim(ledger: StoredLedger) -> None:
    """A created backup is returned with all its fields, and with the time."""
    await ledger.created(await granted(ledger), BACKUP)
    claim = await ledger.claim(KEY, "second")
    assert isinstance(claim, Created)
    assert claim.backup == BACKUP
    assert abs(claim.made_at - time.time()) < 10


async def test_an_event_that_was_given_up_gets_the_same_end_again(ledger: StoredLedger) -> None:
    """An event that was given up has one end; another event may still try."""
    end = await ledger.give_up(KEY, "first", NO, attempts=2, tracked=False)
    assert Finished(failure=NO, attempts=2) == end
    assert end == await ledger.claim(KEY, "first")
    assert isinstance(await ledger.claim(KEY, "second"), Granted)


async def test_giving_up_leaves_a_claim_to_its_holder(ledger: StoredLedger) -> None:
    """The holder of the claim may be about to send, so it keeps the claim."""
    claim = await granted(ledger)
    await ledger.give_up(KEY, "first", NO, attempts=0, tracked=False)
    assert isinstance(await ledger.claim(KEY, "second"), Busy)
    await ledger.created(claim, BACKUP)
    assert isinstance(await ledger.claim(KEY, "second"), Created)


async def test_giving_up_keeps_a_doubt(ledger: StoredLedger) -> None:
    """The next claim, of a replay perhaps, must look up the backup before it sends."""
    doubt = Doubt(since=1700000000.0, lookups=1, lookup_after=1700000030.0)
    await ledger.doubt(await granted(ledger), doubt)
    await ledger.give_up(KEY, "first", NO, attempts=1, tracked=False)
    assert doubt == (await granted(ledger, cause="first#replay", replay=True)).doubt


async def test_a_replay_is_given_up_for_itself(ledger: StoredLedger) -> None:
    """A given-up replay does not get the end of the earlier backup; other events still do."""
    claim = await granted(ledger)
    await ledger.created(claim, BACKUP)
    await ledger.finished(KEY, BROKEN, backup_id=BACKUP.id, cause="first")
    again = Finished(failure=NO, attempts=1)
    assert again == await ledger.give_up(KEY, "first#r", NO, attempts=1, tracked=False, replay=True)
    assert again == await ledger.claim(KEY, "first#r", replay=True)
    assert BROKEN == await ledger.claim(KEY, "second")


async def test_a_created_backup_is_not_given_up(ledger: StoredLedger) -> None:
    """Giving up returns the created backup, unless it is tracked: then its outcome is published already."""
    await ledger.created(await granted(ledger), BACKUP)
    assert isinstance(await ledger.give_up(KEY, "first", NO, attempts=0, tracked=False), Created)
    assert isinstance(await ledger.give_up(KEY, "first", NO, attempts=0, tracked=True), Finished)
    assert isinstance(await ledger.claim(KEY, "second"), Created)


async def test_created_after_another_worker_claimed(opener: Opener) -> None:
    """A late answer is still recorded, and ends the claim of the worker in between."""
    ledger = opener(SHORT)
    late = await granted(ledger)
    other = await once_free(ledger)
    await ledger.created(late, BACKUP)
    assert not await ledger.holds(other)
    assert isinstance(await ledger.claim(KEY, "third"), Created)


async def test_second_backup_is_reported(opener: Opener, caplog: pytest.LogCaptureFixture) -> None:
    """Where two backups were created, the first is kept and the log names both."""
    ledger = opener(SHORT)
    late, other = await granted(ledger), await once_free(ledger)
    await ledger.created(other, BACKUP)
    with caplog.at_level(logging.WARNING):
        await ledger.created(late, AcceptedBackup(id="b2"))
    [record] = caplog.records
    assert ("ledger.second_backup", "b1", "b2") == tuple(
        record.__dict__[name] for name in ("action", "first", "second")
    )
    claim = await ledger.claim(KEY, "third")
    assert isinstance(claim, Created)
    assert claim.backup.id == "b1"


async def test_stale_claim_does_not_disturb(opener: Opener) -> None:
    """A worker that has lost its claim cannot release or doubt the next one."""
    ledger = opener(patient(0.4))
    stale = await granted(ledger)
    await once_free(ledger)
    await ledger.release(stale)
    await ledger.doubt(stale, Doubt(1.0, 1, 1.0))
    assert isinstance(await ledger.claim(KEY, "third"), Busy)


async def test_refusal_is_kept_for_its_cause(ledger: StoredLedger) -> None:
    """A redelivered event gets the same failure unchanged; another event may try again."""
    await ledger.refused(await granted(ledger), "first", NO, attempts=3)
    assert Finished(failure=NO, attempts=3) == await ledger.claim(KEY, "first")
    await granted(ledger, cause="second")


async def test_refusal_in_doubt_keeps_the_doubt(ledger: StoredLedger) -> None:
    """An event gives up in doubt: the next claim has that doubt."""
    doubt = Doubt(1.0, 2, 3.0)
    claim = await granted(ledger)
    await ledger.doubt(claim, doubt)
    await ledger.refused(claim, "first", NO, attempts=3)
    assert doubt == (await granted(ledger, cause="second")).doubt


async def test_refusal_does_not_hide_a_backup(ledger: StoredLedger) -> None:
    """A created backup stays created."""
    claim = await granted(ledger)
    await ledger.created(claim, BACKUP)
    await ledger.refused(claim, "first", NO, attempts=3)
    assert isinstance(await ledger.claim(KEY, "second"), Created)


async def test_completed_is_the_end(ledger: StoredLedger) -> None:
    """Every event gets the end, replays too, with all its fields."""
    await ledger.created(await granted(ledger), BACKUP)
    await ledger.finished(KEY, DONE, backup_id="b1", cause="first")
    answers: list[Claim] = [await ledger.claim(KEY, "first"), await ledger.claim(KEY, "second", replay=True)]
    assert [DONE, DONE] == answers


async def test_end_of_an_unknown_row_is_remembered(ledger: StoredLedger) -> None:
    """A ledger that was lost learns the end of a tracked backup."""
    await ledger.finished(KEY, DONE, backup_id="b1", cause="first")
    assert DONE == await ledger.claim(KEY, "second")


async def test_replay_after_an_error_begins_anew(ledger: StoredLedger) -> None:
    """After a backup that ended in error, each replay may make another one, once."""
    await ledger.created(await granted(ledger), BACKUP)
    await ledger.finished(KEY, BROKEN, backup_id="b1", cause="first")
    assert BROKEN == await ledger.claim(KEY, "second")
    assert BROKEN == await ledger.claim(KEY, "first", replay=True)
    claim = await granted(ledger, cause="replay", replay=True)
    assert frozenset({"b1"}) == claim.failed_backups
    await ledger.created(claim, AcceptedBackup(id="b2"))
    await ledger.finished(KEY, BROKEN, backup_id="b2", cause="replay")
    assert BROKEN == await ledger.claim(KEY, "replay", replay=True)
    assert frozenset({"b1", "b2"}) == (await granted(ledger, cause="again", replay=True)).failed_backups


async def test_renewed_lease_holds(opener: Opener) -> None:
    """A lease holds as long as it is renewed in time."""
    lease = patient(0.5)
    ledger = opener(lease)
    claim = await granted(ledger)
    began = time.monotonic()
    while time.monotonic() - began < 1.2 * lease:
        await asyncio.sleep(lease / 5)
        await ledger.renew()
        assert await ledger.holds(claim)
        assert isinstance(await ledger.claim(KEY, "second"), Busy)


async def test_lease_is_not_used_to_its_end(opener: Opener) -> None:
    """Without a renewal, a claim stops holding before another worker could get it."""
    ledger = opener(patient(0.3))
    claim = await granted(ledger)
    assert await ledger.holds(claim)
    deadline = time.monotonic() + patient(10)
    while await ledger.holds(claim):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    assert isinstance(await ledger.claim(KEY, "second"), Busy)


@pytest.mark.parametrize("end", ["release", "doubt", "created", "refused"])
async def test_claim_that_is_over_does_not_hold(ledger: StoredLedger, end: str) -> None:
    """A claim that was released or used does not hold; renewing does not revive it."""
    claim = await granted(ledger)
    match end:
        case "release":
            await ledger.release(claim)
        case "doubt":
            await ledger.doubt(claim, Doubt(1.0, 0, 1.0))
        case "made":
            await ledger.created(claim, BACKUP)
        case _:
            await ledger.refused(claim, "first", NO, attempts=1)
    await ledger.renew()
    assert not await ledger.holds(claim)


async def test_prune_deletes_ended_rows(ledger: StoredLedger) -> None:
    """Rows with an end are deleted; claimed, doubted and unfinished rows stay."""
    done, claimed, doubted, made, refused = (Key("p", str(number)) for number in range(5))
    await ledger.finished(done, DONE, backup_id="b1", cause="first")
    await granted(ledger, claimed)
    await ledger.doubt(await granted(ledger, doubted), Doubt(1.0, 0, 1.0))
    await ledger.created(await granted(ledger, made), BACKUP)
    await ledger.refused(await granted(ledger, refused), "first", NO, attempts=1)
    assert await ledger.prune(3600) == 0
    assert await ledger.prune(0) == 2
    rows = [await ledger.look_up(key) for key in (done, claimed, doubted, made, refused)]
    assert [None, "claimed", "doubt", "made", None] == [row and row.label for row in rows]


async def test_prune_of_many_goes_on_to_the_end(ledger: StoredLedger) -> None:
    """More rows than fit into one transaction are deleted all the same."""
    ends = (ledger.finished(Key("p", str(n)), DONE, backup_id="b", cause="c") for n in range(1100))
    await asyncio.gather(*ends)
    assert await ledger.prune(0) == 1100


async def test_a_pruned_snapshot_is_looked_up_before_a_request(ledger: StoredLedger) -> None:
    """A later event is granted, and must ask the API first; so must the next one, whatever came of it."""
    await ledger.finished(KEY, DONE, backup_id="b1", cause="first")
    fresh = await granted(ledger, Key("p", "never pruned"))
    assert await ledger.prune(0) == 1
    claim = await ledger.claim(KEY, "second")
    assert isinstance(claim, Granted)
    await ledger.release(claim)
    again = await ledger.claim(KEY, "third")
    assert isinstance(again, Granted)
    own = (await granted(ledger, Key("p", "new"))).ask_first
    assert [True, True, own] == [claim.ask_first, again.ask_first, fresh.ask_first]
    assert own is (not ledger.records_waiting)


async def test_what_is_pruned_stays_pruned_twice(ledger: StoredLedger) -> None:
    """A snapshot that came again and was pruned again is still looked up first, and operators see no row."""
    for cause in ("first", "second"):
        await ledger.finished(KEY, DONE, backup_id="b1", cause=cause)
        assert await ledger.prune(0) == 1
        assert await ledger.look_up(KEY) is None
        assert [] == list(await ledger.snapshots(KEY.snapshot_id))
    claim = await ledger.claim(KEY, "third")
    assert isinstance(claim, Granted)
    assert claim.ask_first


async def aged(ledger: StoredLedger, key: Key, days: float) -> None:
    """Insert a row that was last written so many days ago."""

    def change(row: Row | None, now: float) -> tuple[None, Row]:
        assert row is not None
        return None, replace(row, updated_at=now - days * DAY)

    await ledger._store.change(key, change)


async def test_a_prune_deletes_as_many_rows_as_were_counted(ledger: StoredLedger) -> None:
    """Rows of each state and age are counted by the same rule by which they are deleted."""
    for days in (1, 20, 40, 100):
        done, made, doubted = (Key(str(days), name) for name in ("done", "made", "doubted"))
        await ledger.finished(done, DONE, backup_id="b1", cause="first")
        await ledger.created(await granted(ledger, made), BACKUP)
        await ledger.doubt(await granted(ledger, doubted), Doubt(1.0, 0, 1.0))
        for key in (done, made, doubted):
            await aged(ledger, key, days)

    counted, deleted = [], []
    for days in (90, 35, 10, 0):
        found = await ledger.prunable(days * DAY)
        counted.append((found.total, found.without_end))
        deleted.append(await ledger.prune(days * DAY, as_of=found.as_of))

    assert [(3, 2), (3, 2), (1, 0), (1, 0)] == counted
    assert [3, 3, 1, 1] == deleted
    assert 0 == (await ledger.prunable(0)).total


async def test_the_count_has_the_oldest_and_the_youngest(ledger: StoredLedger) -> None:
    """Both are times at which a row to delete was last written; None where there is no such row."""
    nothing = await ledger.prunable(0)
    for days in (100, 200, 300):
        await ledger.finished(Key("p", str(days)), DONE, backup_id="b1", cause="first")
        await aged(ledger, Key("p", str(days)), days)

    found = await ledger.prunable(150 * DAY)

    assert (0, None, None) == (nothing.total, nothing.oldest, nothing.youngest)
    assert found.oldest is not None
    assert found.youngest is not None
    assert [300, 200] == [round((found.as_of - then) / DAY) for then in (found.oldest, found.youngest)]


async def test_a_row_that_ends_after_the_count_is_not_pruned(ledger: StoredLedger) -> None:
    """Rows that grow old enough while the operator is asked stay."""
    await ledger.finished(KEY, DONE, backup_id="b1", cause="first")
    found = await ledger.prunable(0)
    later = Key("p", "later")
    await ledger.finished(later, DONE, backup_id="b2", cause="second")
    assert await ledger.prune(0, as_of=found.as_of) == 1
    assert await ledger.look_up(later) is not None


async def test_a_placeholder_is_not_counted(ledger: StoredLedger) -> None:
    """A snapshot that was only looked up, or whose claim was pruned meanwhile, is not counted."""
    claim = await granted(ledger)
    await aged(ledger, KEY, 40)
    assert await ledger.prune(0) == 1
    await ledger.release(claim)
    assert await ledger.look_up(Key("p", "unknown")) is None

    assert (await ledger.prunable(0)).total == 0
    assert await ledger.prune(0) == 0


async def test_look_up_changes_nothing(ledger: StoredLedger) -> None:
    """An operator can read a row, or that there is none, without a change."""
    assert await ledger.look_up(KEY) is None
    await granted(ledger)
    before = await ledger.look_up(KEY)
    assert before is not None
    assert (RowState.OPEN, before) == (before.state, await ledger.look_up(KEY))


async def test_check_passes(ledger: StoredLedger) -> None:
    """A ledger that works passes its check each time."""
    await ledger.check()
    await ledger.check()


async def test_a_bad_key_fails_alone(ledger: StoredLedger) -> None:
    """A key that a store cannot hold fails alone; the other changes of its transaction succeed."""
    odd = Key("project", "\ud800")
    claims = [ledger.claim(Key("p", str(number)), "c") for number in range(20)]
    answers = await asyncio.gather(*claims[:10], ledger.claim(odd, "c"), *claims[10:], return_exceptions=True)
    assert [Granted] * 20 == [type(answer) for number, answer in enumerate(answers) if number != 10]
    assert isinstance(answers[10], Granted | LedgerUnavailable)


async def test_closed_ledger_is_unavailable(ledger: StoredLedger) -> None:
    """A closed ledger raises ``LedgerUnavailable``."""
    await ledger.check()
    await ledger.aclose()
    await ledger.aclose()
    with pytest.raises(LedgerUnavailable):
        await ledger.claim(KEY, "first")


async def test_abandoned_callers_do_not_stop_the_others(ledger: StoredLedger) -> None:
    """The ledger works on after callers were cancelled while they waited."""
    tasks = [asyncio.ensure_future(ledger.claim(Key("p", str(number)), "c")) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await granted(ledger)


async def test_the_state_key_is_random_and_stays_the_same(ledger: StoredLedger) -> None:
    """The ledger keeps a key of 256 bits in hex."""
    key = await ledger.state_key()
    assert 64 == len(key)
    assert key == await ledger.state_key()
