"""Tests of the ledger's rules on single rows, without a store."""

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
FAILED = Finished(failure=NO, attempts=2)

CLAIMED = Row(token="other", lease_until=NOW + 5)
LAPSED = Row(token="other", lease_until=NOW - 1)
CREATED = Row(RowState.CREATED, backup=BACKUP, made_at=950.0)
COMPLETED = Row(RowState.COMPLETED, backup=BACKUP, made_at=950.0, end=DONE)
ERROR = Row(RowState.ERROR, end=BROKEN, failures={"first": BROKEN}, failed_backups=("b1",))
REFUSED = Row(failures={"first": FAILED})


def granted(doubt: Doubt | None = None, *failed_backups: str, ask_first: bool = False) -> Granted:
    """Return the answer ``granted`` to a claim."""
    return Granted(KEY, "mine", doubt=doubt, ask_first=ask_first, failed_backups=frozenset(failed_backups))


def claim(row: Row | None, cause: str = "first", *, replay: bool = False) -> tuple[Claim, Row | None]:
    """Claim at ``NOW`` with the token ``mine``."""
    return rules.claim(row, KEY, cause, replay=replay, now=NOW, token="mine", lease=LEASE)


@pytest.mark.parametrize(
    ("row", "cause", "replay", "expected"),
    [
        pytest.param(None, "first", False, granted(), id="unknown"),
        pytest.param(Row(), "first", False, granted(), id="released"),
        pytest.param(CLAIMED, "first", False, Busy(NOW + 5), id="lease holds"),
        pytest.param(LAPSED, "first", False, granted(FRESH_DOUBT), id="lease has ended"),
        pytest.param(
            replace(LAPSED, doubt=DOUBT), "first", False, granted(FRESH_DOUBT), id="ended on a doubt"
        ),
        pytest.param(Row(doubt=DOUBT), "first", False, granted(DOUBT), id="in doubt"),
        pytest.param(CREATED, "first", False, Created(BACKUP, 950.0), id="created"),
        pytest.param(CREATED, "second", True, Created(BACKUP, 950.0), id="created, for a replay"),
        pytest.param(COMPLETED, "first", False, DONE, id="completed"),
        pytest.param(COMPLETED, "second", True, DONE, id="completed, for a replay"),
        pytest.param(REFUSED, "first", False, FAILED, id="refused, same cause"),
        pytest.param(REFUSED, "first", True, FAILED, id="refused, same cause as a replay"),
        pytest.param(REFUSED, "second", False, granted(), id="refused, another cause"),
        pytest.param(replace(REFUSED, doubt=DOUBT), "second", False, granted(DOUBT), id="refused in doubt"),
        pytest.param(ERROR, "first", False, BROKEN, id="error, same cause"),
        pytest.param(ERROR, "second", False, BROKEN, id="error, another cause"),
        pytest.param(ERROR, "first", True, BROKEN, id="error, replay of a tried cause"),
        pytest.param(
            ERROR, "second", True, granted(None, "b1", ask_first=True), id="error, replay of a new cause"
        ),
        pytest.param(
            replace(ERROR, token="other", lease_until=NOW + 5),
            "second",
            True,
            Busy(NOW + 5),
            id="error, busy",
        ),
        pytest.param(
            replace(ERROR, token="other", lease_until=NOW + 5),
            "second",
            False,
            BROKEN,
            id="error, not a replay",
        ),
        pytest.param(
            replace(COMPLETED, failures={"first": FAILED}),
            "first",
            False,
            FAILED,
            id="completed, failed before",
        ),
    ],
)
def test_claim_answers(row: Row | None, cause: str, replay: bool, expected: Claim) -> None:
    """Each state of a row gives the answer that ``Ledger.claim`` promises."""
    assert expected == claim(row, cause, replay=replay)[0]


@pytest.mark.parametrize("row", [CLAIMED, CREATED, COMPLETED, ERROR, REFUSED])
def test_claim_writes_nothing_unless_granted(row: Row) -> None:
    """A claim that is not granted changes no row."""
    assert claim(row)[1] is None


def test_claim_writes_lease_and_doubt() -> None:
    """A claim that starts in doubt writes the doubt into the row, so that a release keeps it."""
    assert Row(token="mine", lease_until=NOW + LEASE, doubt=FRESH_DOUBT, updated_at=NOW) == claim(LAPSED)[1]


def test_lease_ends_at_its_end() -> None:
    """A claim at the very end of a lease is granted."""
    assert isinstance(claim(Row(token="other", lease_until=NOW))[0], Granted)


def test_released_claim_is_granted_again() -> None:
    """A claim that was released is granted again without a doubt."""
    row = claim(None)[1]
    assert granted() == claim(rules.release(row, "mine", now=NOW)[1])[0]


def test_release_keeps_an_older_doubt() -> None:
    """A release keeps the doubt about an earlier call."""
    row = claim(Row(doubt=DOUBT))[1]
    assert granted(DOUBT) == claim(rules.release(row, "mine", now=NOW)[1])[0]


def test_released_replay_is_in_error_again() -> None:
    """A replay that releases its claim keeps the error of the earlier backup."""
    row = rules.release(claim(ERROR, "second", replay=True)[1], "mine", now=NOW)[1]
    assert BROKEN == claim(row, "third")[0]


@pytest.mark.parametrize("row", [None, CLAIMED, CREATED, COMPLETED, ERROR])
def test_stale_token_changes_nothing(row: Row | None) -> None:
    """A worker that has lost its claim cannot release it, record a doubt or renew it."""
    changed = (
        rules.release(row, "mine", now=NOW)[1],
        rules.doubt(row, "mine", DOUBT, now=NOW)[1],
        rules.extend(row, "mine", now=NOW, lease=LEASE)[1],
    )
    assert (None, None, None) == changed


def test_doubt_is_kept_and_gives_the_lease_back() -> None:
    """The next claim gets the doubt that was recorded."""
    row = rules.doubt(claim(None)[1], "mine", DOUBT, now=NOW)[1]
    assert granted(DOUBT) == claim(row)[0]


def test_extend_moves_the_end() -> None:
    """A renewed lease ends one lease time after its renewal."""
    assert (True, replace(CLAIMED, lease_until=NOW + LEASE, updated_at=NOW)) == rules.extend(
        CLAIMED, "other", now=NOW, lease=LEASE
    )


@pytest.mark.parametrize("row", [None, Row(), CLAIMED, LAPSED, Row(doubt=DOUBT), ERROR, REFUSED])
def test_created_is_recorded_under_any_lease(row: Row | None) -> None:
    """A backup that exists is recorded: no lease, doubt or earlier failure hides it."""
    other = AcceptedBackup(id="b2")
    first, changed = rules.created(row, "mine", other, now=NOW)
    assert (None, Created(other, NOW)) == (first, claim(changed, "new")[0])


def test_created_keeps_the_first_of_two() -> None:
    """A second backup does not replace the first, and the caller gets the id of the first."""
    first, changed = rules.created(CREATED, "mine", AcceptedBackup(id="b2"), now=NOW)
    assert ("b1", None) == (first, changed)


def test_created_twice_changes_nothing() -> None:
    """Recording the same backup again changes nothing, not even the time."""
    assert (None, None) == rules.created(CREATED, "mine", BACKUP, now=NOW)


def test_created_after_its_error_stays_in_error() -> None:
    """A late report that a backup was created does not revive one that ended in error."""
    assert (None, None) == rules.created(ERROR, "mine", BACKUP, now=NOW)


@pytest.mark.parametrize(("row", "answer"), [(CREATED, Created(BACKUP, 950.0)), (COMPLETED, DONE)])
def test_refused_never_hides_a_backup(row: Row, answer: Claim) -> None:
    """Another event still gets the backup; only the refused event gets its failure again."""
    changed = rules.refused(row, "mine", "first", NO, attempts=2, now=NOW)[1]
    assert (answer, FAILED) == (claim(changed, "second")[0], claim(changed, "first")[0])


def test_refused_keeps_a_doubt() -> None:
    """The next claim after a refused event in doubt gets that doubt."""
    changed = rules.refused(claim(Row(doubt=DOUBT))[1], "mine", "first", NO, attempts=2, now=NOW)[1]
    assert granted(DOUBT) == claim(changed, "second")[0]


def test_refused_leaves_the_claim_of_another() -> None:
    """A worker that lost its claim may record its failure; the lease of the next worker holds."""
    changed = rules.refused(CLAIMED, "mine", "first", NO, attempts=2, now=NOW)[1]
    assert Busy(NOW + 5) == claim(changed, "second")[0]


def test_each_cause_gets_its_own_failure() -> None:
    """The failure of a second event does not replace that of the first."""
    other = Failure(category=Category.QUOTA, message="full")
    changed = rules.refused(REFUSED, "mine", "second", other, attempts=1, now=NOW)[1]
    assert (FAILED, Finished(failure=other, attempts=1)) == (claim(changed)[0], claim(changed, "second")[0])


def test_failures_are_bounded() -> None:
    """A row keeps the newest ``MAX_FAILURES`` failures, however many events fail."""
    row: Row | None = None
    for number in range(rules.MAX_FAILURES + 5):
        row = rules.refused(row, "mine", str(number), NO, attempts=1, now=NOW)[1]
    assert row is not None
    assert [str(number) for number in range(5, rules.MAX_FAILURES + 5)] == list(row.failures)


@pytest.mark.parametrize("row", [None, Row(), CLAIMED, CREATED, REFUSED, ERROR, Row(doubt=DOUBT)])
def test_completed_is_the_end_from_everywhere(row: Row | None) -> None:
    """Every event without a failure of its own gets the completed backup."""
    changed = rules.finished(row, DONE, backup_id="b1", cause="first", now=NOW)[1]
    assert DONE == claim(changed, "new")[0]


def test_first_completed_stays() -> None:
    """A second backup that completes does not replace the first, and is reported."""
    second = Finished(backup=CompletedBackup(id="b2", status="available"))
    assert ("b1", None) == rules.finished(COMPLETED, second, backup_id="b2", cause="second", now=NOW)


@pytest.mark.parametrize("row", [None, CREATED, CLAIMED, Row(doubt=DOUBT)])
def test_failed_backup_is_excluded_from_a_replay(row: Row | None) -> None:
    """Events get the error of a backup; a replay gets a claim that excludes this backup."""
    changed = rules.finished(row, BROKEN, backup_id="b1", cause="first", now=NOW)[1]
    assert (BROKEN, granted(None, "b1", ask_first=True)) == (
        claim(changed, "second")[0],
        claim(changed, "second", replay=True)[0],
    )


def test_error_of_an_older_backup_leaves_the_newer() -> None:
    """A late error of an older backup does not change the row of the newer one."""
    row = replace(CREATED, backup=AcceptedBackup(id="b2"))
    first, changed = rules.finished(row, BROKEN, backup_id="b1", cause="first", now=NOW)
    assert ("b2", Created(AcceptedBackup(id="b2"), 950.0)) == (first, claim(changed, "second")[0])


def test_repeated_error_keeps_a_replay_s_claim() -> None:
    """Two events tracked one backup: the second report of its error does not end a replay's claim."""
    row = claim(ERROR, "replay", replay=True)[1]
    changed = rules.finished(row, BROKEN, backup_id="b1", cause="second", now=NOW)[1]
    assert Busy(NOW + LEASE) == claim(changed, "third", replay=True)[0]


def test_error_does_not_undo_completed() -> None:
    """A completed backup stays completed."""
    changed = rules.finished(COMPLETED, BROKEN, backup_id="b1", cause="second", now=NOW)[1]
    assert DONE == claim(changed, "third")[0]


@pytest.mark.parametrize("row", [None, CREATED])
def test_expired_tracking_keeps_the_backup(row: Row | None) -> None:
    """An expired event has failed, but its backup may complete: a replay makes no other."""
    changed = rules.finished(row, LATE, backup_id="b1", cause="first", now=NOW)[1]
    again = claim(changed, "second", replay=True)[0]
    assert (LATE, "b1") == (claim(changed)[0], again.backup.id if isinstance(again, Created) else again)


@pytest.mark.parametrize(
    ("row", "settled", "label"),
    [
        (Row(), True, "open"),
        (CLAIMED, False, "claimed"),
        (Row(doubt=DOUBT), False, "doubt"),
        (CREATED, False, "made"),
        (COMPLETED, True, "completed"),
        (REFUSED, True, "refused"),
        (ERROR, True, "error"),
    ],
)
def test_each_state_has_its_label(row: Row, settled: bool, label: str) -> None:
    """Each state has its label; a row is settled without an open claim, doubt or unfinished backup."""
    assert (settled, label) == (row.settled, row.label)


@pytest.mark.parametrize(
    "row",
    [
        Row(),
        CLAIMED,
        replace(LAPSED, doubt=DOUBT),
        CREATED,
        replace(COMPLETED, updated_at=3.5),
        ERROR,
        REFUSED,
    ],
)
def test_rows_survive_the_table(row: Row) -> None:
    """A row that was written is read back the same."""
    state, token, lease_until, updated_at, _, rest = to_columns(row)
    assert row == from_columns(state, token, lease_until, updated_at, rest)
