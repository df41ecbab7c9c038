"""The policy: the decision about each category of a failed call."""

import pytest

from events.outcome import Category
from handler.backup.evidence import Scope
from handler.backup.policy import (
    LOOKUPS_UNTIL_CERTAIN,
    Decision,
    Limits,
    Seen,
    absence_is_certain,
    decide,
    tracking_delay,
)
from handler.errors import ApiError

C = Category
LIMITS = Limits(delays=(5, 30, 120, 600), max_attempts=3, max_age=1000.0, settle_time=30.0)
FINE = Seen(creates_fine=True)


def _decide(
    category: Category,
    *,
    status: int | None = None,
    retry_after: float | None = None,
    busy: bool = False,
    attempts: int = 0,
    waits: int = 0,
    age: float = 0.0,
    from_api: bool = True,
    renewed: bool = False,
    seen: Seen = FINE,
) -> Decision:
    error = ApiError(
        category,
        "text",
        status=status,
        retry_after=retry_after,
        busy=busy,
        from_api=from_api,
        renewed=renewed,
    )
    return decide(error, attempts=attempts, waits=waits, age=age, limits=LIMITS, seen=seen)


@pytest.mark.parametrize("category", [C.INVALID, C.REFUSED, C.QUOTA])
def test_a_refusal_for_good_fails_at_once(category: Category) -> None:
    """Waiting does not change these answers of the API."""
    assert Decision("fail", category, "message", counted=True) == _decide(category)


@pytest.mark.parametrize(
    ("attempts", "age", "action"),
    [(0, 99.0, "wait"), (1, 99.0, "wait"), (2, LIMITS.settle_time, "fail"), (2, 0.0, "wait")],
)
def test_not_found_fails_once_it_is_certain(attempts: int, age: float, action: str) -> None:
    """Several answers over some time are needed, since one node of the API may lag behind."""
    error = ApiError(C.NOT_FOUND, "text", status=404)
    limits = LIMITS._replace(max_attempts=99)
    decision = decide(error, attempts=attempts, waits=0, age=age, limits=limits, seen=FINE)
    assert action == decision.action


def test_missing_rights_fail_at_once() -> None:
    """A 403 concerns this message's project, and waiting does not bring rights."""
    assert Decision("fail", C.DENIED, "message", counted=True) == _decide(C.DENIED, status=403)


@pytest.mark.parametrize("status", [401, 402, None])
def test_a_refused_sign_in_concerns_the_service(status: int | None) -> None:
    """A failed sign-in stops all messages, so no attempt of this message is counted."""
    assert Decision("wait", C.DENIED, "service", 5.0) == _decide(C.DENIED, status=status)


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 5.0), (1, 30.0)], ids=["first try", "second try"])
def test_a_conflict_waits_longer_with_each_try(attempts: int, seconds: float) -> None:
    """Each try is counted, and its delay is longer than the one before."""
    expected = Decision("wait", C.CONFLICT, "message", seconds, counted=True)
    assert expected == _decide(C.CONFLICT, attempts=attempts)


def test_for_a_busy_snapshot_a_backup_is_looked_up_first() -> None:
    """Another call uses the snapshot, perhaps one of ours whose answer was lost."""
    assert Decision("look_up", C.CONFLICT, "message", 5.0, counted=True) == _decide(C.CONFLICT, busy=True)


@pytest.mark.parametrize("category", [C.CONFLICT, C.IN_DOUBT])
def test_counted_tries_run_out(category: Category) -> None:
    """The try that reaches MAX_ATTEMPTS is the last."""
    expected = Decision("fail", category, "message", counted=True)
    assert expected == _decide(category, attempts=LIMITS.max_attempts - 1)


@pytest.mark.parametrize("category", [C.UNAVAILABLE, C.THROTTLED])
@pytest.mark.parametrize("attempts", [0, 2, 50])
def test_an_outage_burns_no_attempts(category: Category, attempts: int) -> None:
    """A failure of the service or project counts no attempt, however many were counted before."""
    decision = _decide(category, attempts=attempts)
    assert ("wait", False) == (decision.action, decision.counted)


def test_a_call_in_doubt_is_counted_only_where_others_are_made() -> None:
    """If no other backups are made meanwhile, a call in doubt belongs to an outage."""
    assert _decide(C.IN_DOUBT).counted
    assert not _decide(C.IN_DOUBT, attempts=50, seen=Seen()).counted


@pytest.mark.parametrize("seen", ["message", "project", "route", "service"])
def test_the_evidence_tells_whom_an_outage_concerns(seen: Scope) -> None:
    """An unavailable API is an outage of what fails alone, and no attempt is counted in any case."""
    expected = Decision("wait", C.UNAVAILABLE, seen, 5.0)
    assert expected == _decide(C.UNAVAILABLE, attempts=50, seen=Seen(scope=seen))


def test_throttling_concerns_the_project_alone() -> None:
    """The API limits the calls of each project separately."""
    assert Decision("wait", C.THROTTLED, "project", 5.0) == _decide(C.THROTTLED, status=429)


def test_throttling_by_a_gateway_concerns_the_service() -> None:
    """A gateway limits the calls of an account or an address, whatever their project."""
    assert "service" == _decide(C.THROTTLED, status=429, from_api=False).scope


@pytest.mark.parametrize(("scope", "expected"), [("service", "service"), ("project", "project")])
def test_many_throttled_projects_are_the_service(scope: Scope, expected: Scope) -> None:
    """If several projects are throttled and no call succeeds, the API limits all our calls."""
    assert expected == _decide(C.THROTTLED, status=429, seen=Seen(scope=scope, held=3)).scope


def test_our_own_limit_for_new_projects_concerns_each_alone() -> None:
    """Producers can make up projects, whose sign-ins are limited: that stops no other message."""
    assert "project" == _decide(C.THROTTLED, seen=Seen(scope="service", held=1000)).scope


def test_a_project_that_is_refused_alone_is_held_alone() -> None:
    """A 401 in a stranger's project is that project's if our own project is fine."""
    assert "project" == _decide(C.DENIED, status=401, seen=Seen(account="fine")).scope
    assert "service" == _decide(C.DENIED, status=401, seen=Seen(account="failing")).scope
    assert "service" == _decide(C.DENIED, status=401, seen=Seen(account="fine", home=True)).scope


def test_missing_rights_wait_if_our_own_project_is_refused_too() -> None:
    """Then the account's rights are broken for all, which an operator can mend before MAX_AGE."""
    expected = Decision("wait", C.DENIED, "service", 5.0)
    assert expected == _decide(C.DENIED, status=403, seen=Seen(account="failing"))


def test_a_403_of_a_gateway_fails_no_message() -> None:
    """A gateway refuses an account, an application or an address, not one message."""
    assert Decision("wait", C.DENIED, "service", 5.0) == _decide(C.DENIED, status=403, from_api=False)


def test_a_renewed_token_counts_no_attempt() -> None:
    """The message waits shortly, and the circuit breaker stays as it is."""
    expected = Decision("wait", C.DENIED, "message", 5.0)
    assert expected == _decide(C.DENIED, status=401, attempts=50, renewed=True)


@pytest.mark.parametrize("category", [C.THROTTLED, C.UNAVAILABLE, C.CONFLICT])
@pytest.mark.parametrize(("asked", "seconds"), [(300.0, 300.0), (0.0, 5.0), (None, 5.0)])
def test_retry_after_is_obeyed_where_it_is_longer(
    category: Category, asked: float | None, seconds: float
) -> None:
    """The delay is the larger of ``retry_after`` and the policy's own delay."""
    assert seconds == _decide(category, retry_after=asked).seconds


@pytest.mark.parametrize(("waits", "seconds"), [(0, 5.0), (1, 30.0), (2, 120.0), (9, 120.0)])
def test_waits_in_an_outage_stay_short_enough_to_notice_its_end(waits: int, seconds: float) -> None:
    """The delay stops growing at the third entry of WAIT_LADDER."""
    assert seconds == _decide(C.UNAVAILABLE, waits=waits).seconds


@pytest.mark.parametrize("category", [C.UNAVAILABLE, C.THROTTLED, C.CONFLICT, C.DENIED])
def test_max_age_ends_every_wait(category: Category) -> None:
    """A message that is older than MAX_AGE fails as expired."""
    decision = _decide(category, age=LIMITS.max_age)
    assert ("fail", C.EXPIRED) == (decision.action, decision.category)


def test_a_doubt_that_is_too_old_stays_a_doubt() -> None:
    """The category stays ``in_doubt``, so that the operator knows that a backup may exist."""
    assert C.IN_DOUBT == _decide(C.IN_DOUBT, age=LIMITS.max_age, seen=Seen()).category


@pytest.mark.parametrize(
    ("lookups", "seconds", "expected"),
    [
        (LOOKUPS_UNTIL_CERTAIN, LIMITS.settle_time, True),
        (LOOKUPS_UNTIL_CERTAIN - 1, LIMITS.settle_time * 10, False),
        (LOOKUPS_UNTIL_CERTAIN * 10, LIMITS.settle_time - 0.1, False),
    ],
    ids=["enough of both", "too few lookups", "too soon"],
)
def test_sending_again_needs_several_lookups_and_time(lookups: int, seconds: float, expected: bool) -> None:
    """A slow server may commit late, so neither many lookups nor time alone suffice."""
    assert expected is absence_is_certain(lookups=lookups, seconds=seconds, limits=LIMITS)


def test_the_last_delay_serves_all_later_waits() -> None:
    """A wait beyond the end of WAIT_LADDER takes its last delay."""
    assert [5, 600, 600] == [LIMITS.delay(step) for step in (-1, 3, 99)]


@pytest.mark.parametrize(
    ("age", "size_gb", "seconds"),
    [(0.0, None, 5.0), (0.0, 1, 5.0), (0.0, 100, 203.0), (4000.0, 100, 1000.0), (0.0, 0, 5.0)],
)
def test_tracking_adapts_to_the_size(age: float, size_gb: int | None, seconds: float) -> None:
    """The first lookup follows a tenth of 30 s + 20 s per GB, later ones a quarter of the age."""
    assert seconds == tracking_delay(age=age, size_gb=size_gb)


def test_a_single_delay_serves_all_waits() -> None:
    """WAIT_LADDER may have one entry, which all waits take."""
    assert 7 == LIMITS._replace(delays=(7,)).delay(5)
