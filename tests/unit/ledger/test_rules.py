"""The rules of the promise book, one claim each, over bare rows."""

from dataclasses import replace

import pytest

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Busy, Claim, Created, Doubt, Finished, Granted, Key
from handler.ledger import rules
from handler.ledger.columns import from_columns, to_columns
from handler.ledger.row import Row, RowState

KEY = Key("project", "snapshot")
NOW = 1000.0
LEASE = 20.0
BACKUP = AcceptedBackup(id="b1", name="name")
DONE = Finished(backup=CompletedBackup(id="b1", status="available"), seconds=5.0)
NO = Failure(category=Category.REFUSED, status=400, code="X", message="no")
BROKEN = Finished(failure=Failure(category=Category.BACKUP_ERROR, message="broken"), attempts=1)
LATE = Finished(failure=Failure(category=Category.EXPIRED, message="late"), attempts=1)
DOUBT = Doubt(since=900.0, lookups=3, lookup_after=1100.0)
FRESH_DOUBT = Doubt(since=NOW, lookups=0, lookup_after=NOW)
TOLD = Finished(failure=NO, attempts=2)

CLAIMED = Row(token="other", lease_until=NOW + 5)
LAPSED = Row(token="other", lease_until=NOW - 1)
MADE = Row(RowState.CREATED, backup=BACKUP, made_at=950.0)
COMPLETED = Row(RowState.COMPLETED, backup=BACKUP, made_at=950.0, end=DONE)
ERROR = Row(RowState.ERROR, end=BROKEN, failures={"first": BROKEN}, failed_backups=("b1",))
REFUSED = Row(failures={"first": TOLD})


def ours(doubt: Doubt | None = None, *failed_backups: str, ask_first: bool = False) -> Granted:
    """What a claim gets that is granted."""
    return Granted(KEY, "mine", doubt=doubt, ask_first=ask_first, failed_backups=frozenset(failed_backups))


def claim(row: Row | None, cause: str = "first", *, replay: bool = False) -> tuple[Claim, Row | None]:
    """Claim at ``NOW`` with the token ``mine``."""
    return rules.claim(row, KEY, cause, replay=replay, now=NOW, token="mine", lease=LEASE)


@pytest.mark.parametrize(
    ("row", "cause", "replay", "expected"),
    [
        pytest.param(None, "first", False, ours(), id="unknown"),
        pytest.param(Row(), "first", False, ours(), id="released"),
        pytest.param(CLAIMED, "first", False, Busy(NOW + 5), id="lease holds"),
        pytest.param(LAPSED, "first", False, ours(FRESH_DOUBT), id="lease has ended"),
        pytest.param(replace(LAPSED, doubt=DOUBT), "first", False, ours(FRESH_DOUBT), id="ended on a doubt"),
        pytest.param(Row(doubt=DOUBT), "first", False, ours(DOUBT), id="in doubt"),
        pytest.param(MADE, "first", False, Created(BACKUP, 950.0), id="made"),
        pytest.param(MADE, "second", True, Created(BACKUP, 950.0), id="made, for a replay"),
        pytest.param(COMPLETED, "first", False, DONE, id="completed"),
        pytest.param(COMPLETED, "second", True, DONE, id="completed, for a replay"),
        pytest.param(REFUSED, "first", False, TOLD, id="refused, same cause"),
        pytest.param(REFUSED, "first", True, TOLD, id="refused, same cause as a replay"),
        pytest.param(REFUSED, "second", False, ours(), id="refused, another cause"),
        pytest.param(replace(REFUSED, doubt=DOUBT), "second", False, ours(DOUBT), id="refused in doubt"),
        pytest.param(ERROR, "first", False, BROKEN, id="error, same cause"),
        pytest.param(ERROR, "second", False, BROKEN, id="error, another cause"),
        pytest.param(ERROR, "first", True, BROKEN, id="error, replay of a tried cause"),
        pytest.param(
            ERROR, "second", True, ours(None, "b1", ask_first=True), id="error, replay of a new cause"
        ),
        pytest.param(
            replace(ERROR, token="other", lease_until=NOW + 5),
            "second",
            True,
            Busy(NOW + 5),
            id="error, taken",
        ),
        pytest.param(
            replace(ERROR, token="other", lease_until=NOW + 5),
            "second",
            False,
            BROKEN,
            id="error, not a replay",
        ),
        pytest.param(replace(COMPLETED, failures={"first": TOLD}), "first", False, TOLD, id="told before"),
    ],
)
def test_claim_answers(row: Row | None, cause: str, replay: bool, expected: Claim) -> None:
    """Each state of a row gives the answer that ``Ledger.claim`` promises."""
    assert expected == claim(row, cause, replay=replay)[0]


@pytest.mark.parametrize("row", [CLAIMED, MADE, COMPLETED, ERROR, REFUSED])
def test_claim_writes_nothing_unless_ours(row: Row) -> None:
    """An answer that grants nothing changes nothing."""
    assert claim(row)[1] is None


def test_claim_writes_lease_and_doubt() -> None:
    """A claim that begins in doubt leaves the doubt in the row, so that giving it back does not lose it."""
    assert Row(token="mine", lease_until=NOW + LEASE, doubt=FRESH_DOUBT, updated_at=NOW) == claim(LAPSED)[1]


def test_lease_ends_at_its_end() -> None:
    """At the very end of the lease the claim is free."""
    assert isinstance(claim(Row(token="other", lease_until=NOW))[0], Granted)


def test_release_frees() -> None:
    """A claim that was given back can be taken without a doubt."""
    row = claim(None)[1]
    assert ours() == claim(rules.release(row, "mine", now=NOW)[1])[0]


def test_release_keeps_an_older_doubt() -> None:
    """«Not now» says nothing about the call before."""
    row = claim(Row(doubt=DOUBT))[1]
    assert ours(DOUBT) == claim(rules.release(row, "mine", now=NOW)[1])[0]


def test_released_replay_is_in_error_again() -> None:
    """A replay that gives its claim back leaves the end of the backup before it in place."""
    row = rules.release(claim(ERROR, "second", replay=True)[1], "mine", now=NOW)[1]
    assert BROKEN == claim(row, "third")[0]


@pytest.mark.parametrize("row", [None, CLAIMED, MADE, COMPLETED, ERROR])
def test_stale_token_changes_nothing(row: Row | None) -> None:
    """Who has lost the claim can neither give it back, nor doubt it, nor renew it."""
    changed = (
        rules.release(row, "mine", now=NOW)[1],
        rules.doubt(row, "mine", DOUBT, now=NOW)[1],
        rules.extend(row, "mine", now=NOW, lease=LEASE)[1],
    )
    assert (None, None, None) == changed


def test_doubt_is_kept_and_gives_the_lease_back() -> None:
    """The next claim gets the doubt that was written down."""
    row = rules.doubt(claim(None)[1], "mine", DOUBT, now=NOW)[1]
    assert ours(DOUBT) == claim(row)[0]


def test_extend_moves_the_end() -> None:
    """A renewed lease ends a lease after its renewal."""
    assert (True, replace(CLAIMED, lease_until=NOW + LEASE, updated_at=NOW)) == rules.extend(
        CLAIMED, "other", now=NOW, lease=LEASE
    )


@pytest.mark.parametrize("row", [None, Row(), CLAIMED, LAPSED, Row(doubt=DOUBT), ERROR, REFUSED])
def test_made_is_written_whoever_holds_the_lease(row: Row | None) -> None:
    """A backup that exists is a fact: no lease, doubt or earlier failure hides it."""
    other = AcceptedBackup(id="b2")
    first, changed = rules.created(row, "mine", other, now=NOW)
    assert (None, Created(other, NOW)) == (first, claim(changed, "new")[0])


def test_made_keeps_the_first_of_two() -> None:
    """A second backup does not replace the first, and its writer learns of the first."""
    first, changed = rules.created(MADE, "mine", AcceptedBackup(id="b2"), now=NOW)
    assert ("b1", None) == (first, changed)


def test_made_twice_is_made_once() -> None:
    """The same backup told again changes nothing, not even the time."""
    assert (None, None) == rules.created(MADE, "mine", BACKUP, now=NOW)


def test_made_after_its_error_stays_in_error() -> None:
    """A late word that a backup was made does not revive one that has ended in error."""
    assert (None, None) == rules.created(ERROR, "mine", BACKUP, now=NOW)


@pytest.mark.parametrize(("row", "answer"), [(MADE, Created(BACKUP, 950.0)), (COMPLETED, DONE)])
def test_refused_never_hides_a_backup(row: Row, answer: Claim) -> None:
    """Another event still learns of the backup; only the one that was told no is told no again."""
    changed = rules.refused(row, "mine", "first", NO, attempts=2, now=NOW)[1]
    assert (answer, TOLD) == (claim(changed, "second")[0], claim(changed, "first")[0])


def test_refused_keeps_a_doubt() -> None:
    """An event that gave up in doubt hands its doubt to the next."""
    changed = rules.refused(claim(Row(doubt=DOUBT))[1], "mine", "first", NO, attempts=2, now=NOW)[1]
    assert ours(DOUBT) == claim(changed, "second")[0]


def test_refused_leaves_the_claim_of_another() -> None:
    """Who lost the claim may note their failure, but the lease of the one after them holds."""
    changed = rules.refused(CLAIMED, "mine", "first", NO, attempts=2, now=NOW)[1]
    assert Busy(NOW + 5) == claim(changed, "second")[0]


def test_each_cause_is_told_its_own_failure() -> None:
    """The failure of a second event does not replace that of the first."""
    other = Failure(category=Category.QUOTA, message="full")
    changed = rules.refused(REFUSED, "mine", "second", other, attempts=1, now=NOW)[1]
    assert (TOLD, Finished(failure=other, attempts=1)) == (claim(changed)[0], claim(changed, "second")[0])


def test_failures_are_bounded() -> None:
    """However many events fail, a row remembers a bounded number of them, the newest."""
    row: Row | None = None
    for number in range(rules.MAX_FAILURES + 5):
        row = rules.refused(row, "mine", str(number), NO, attempts=1, now=NOW)[1]
    assert row is not None
    assert [str(number) for number in range(5, rules.MAX_FAILURES + 5)] == list(row.failures)


@pytest.mark.parametrize("row", [None, Row(), CLAIMED, MADE, REFUSED, ERROR, Row(doubt=DOUBT)])
def test_completed_is_the_end_from_everywhere(row: Row | None) -> None:
    """A completed backup is told to every event that was not told a failure before."""
    changed = rules.finished(row, DONE, backup_id="b1", cause="first", now=NOW)[1]
    assert DONE == claim(changed, "new")[0]


def test_first_completed_stays() -> None:
    """A second backup that completes does not replace the first, and is reported."""
    second = Finished(backup=CompletedBackup(id="b2", status="available"))
    assert ("b1", None) == rules.finished(COMPLETED, second, backup_id="b2", cause="second", now=NOW)


@pytest.mark.parametrize("row", [None, MADE, CLAIMED, Row(doubt=DOUBT)])
def test_error_spoils_the_backup(row: Row | None) -> None:
    """A backup that ended in error is told to all, and passed over by a replay."""
    changed = rules.finished(row, BROKEN, backup_id="b1", cause="first", now=NOW)[1]
    assert (BROKEN, ours(None, "b1", ask_first=True)) == (
        claim(changed, "second")[0],
        claim(changed, "second", replay=True)[0],
    )


def test_error_of_an_older_backup_leaves_the_newer() -> None:
    """A late word about the backup before does not disturb the one made after it."""
    row = replace(MADE, backup=AcceptedBackup(id="b2"))
    first, changed = rules.finished(row, BROKEN, backup_id="b1", cause="first", now=NOW)
    assert ("b2", Created(AcceptedBackup(id="b2"), 950.0)) == (first, claim(changed, "second")[0])


def test_error_told_again_leaves_the_replay() -> None:
    """Two events watched one backup: the second word of its error does not end a replay's claim."""
    row = claim(ERROR, "replay", replay=True)[1]
    changed = rules.finished(row, BROKEN, backup_id="b1", cause="second", now=NOW)[1]
    assert Busy(NOW + LEASE) == claim(changed, "third", replay=True)[0]


def test_error_does_not_undo_completed() -> None:
    """What was told as completed stays so."""
    changed = rules.finished(COMPLETED, BROKEN, backup_id="b1", cause="second", now=NOW)[1]
    assert DONE == claim(changed, "third")[0]


@pytest.mark.parametrize("row", [None, MADE])
def test_expired_watch_keeps_the_backup(row: Row | None) -> None:
    """An event that waited too long has failed, but its backup may complete: a replay makes no other."""
    changed = rules.finished(row, LATE, backup_id="b1", cause="first", now=NOW)[1]
    again = claim(changed, "second", replay=True)[0]
    assert (LATE, "b1") == (claim(changed)[0], again.backup.id if isinstance(again, Created) else again)


@pytest.mark.parametrize(
    ("row", "settled", "label"),
    [
        (Row(), True, "open"),
        (CLAIMED, False, "claimed"),
        (Row(doubt=DOUBT), False, "doubt"),
        (MADE, False, "made"),
        (COMPLETED, True, "completed"),
        (REFUSED, True, "refused"),
        (ERROR, True, "error"),
    ],
)
def test_rows_are_told_and_pruned_by_their_state(row: Row, settled: bool, label: str) -> None:
    """Only what has an end counts as settled, and each state has its word."""
    assert (settled, label) == (row.settled, row.label)


@pytest.mark.parametrize(
    "row",
    [Row(), CLAIMED, replace(LAPSED, doubt=DOUBT), MADE, replace(COMPLETED, updated_at=3.5), ERROR, REFUSED],
)
def test_rows_survive_the_table(row: Row) -> None:
    """A row that was written is read back the same."""
    state, token, lease_until, updated_at, _, rest = to_columns(row)
    assert row == from_columns(state, token, lease_until, updated_at, rest)
