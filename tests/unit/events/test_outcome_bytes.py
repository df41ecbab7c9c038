"""Outcomes are written as their published model writes them, byte for byte."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from events.outcome import (
    TYPES,
    AcceptedBackup,
    BackupAccepted,
    BackupCompleted,
    BackupFailed,
    BackupLink,
    BackupSkipped,
    Category,
    Cause,
    CompletedBackup,
    Failure,
    OutcomeData,
    OutcomeEvent,
    outcome,
    outcome_id,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MAYBE = st.none() | TEXT
NUMBER = st.integers(-(2**70), 2**70)
SUBJECT = {
    "project_id": MAYBE,
    "volume_id": MAYBE,
    "snapshot_id": MAYBE,
    "cause": st.builds(Cause, id=TEXT, source=MAYBE, type=MAYBE),
    "attempts": st.integers(0, 2**70),
}
LINKS = st.lists(st.builds(BackupLink, href=TEXT, rel=TEXT), max_size=3).map(tuple)
COMPLETED = st.builds(
    CompletedBackup,
    id=TEXT,
    name=MAYBE,
    status=TEXT,
    size=st.none() | NUMBER,
    is_incremental=st.none() | st.booleans(),
    created_at=MAYBE,
)
FAILURE = st.builds(
    Failure, category=st.sampled_from(Category), status=st.none() | NUMBER, code=MAYBE, message=TEXT
)
DATA: st.SearchStrategy[OutcomeData] = st.one_of(
    st.builds(
        BackupAccepted,
        **SUBJECT,
        backup=st.builds(AcceptedBackup, id=TEXT, name=MAYBE, links=LINKS),
        found=st.booleans(),
    ),
    st.builds(BackupCompleted, **SUBJECT, backup=COMPLETED, seconds=st.floats(0)),
    st.builds(BackupFailed, **SUBJECT, error=FAILURE, dead_lettered=st.booleans()),
    st.builds(BackupSkipped, **SUBJECT, reason=TEXT),
)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])
TIMES = st.datetimes(timezones=ZONES) | st.datetimes(timezones=ZONES).map(lambda t: t.replace(microsecond=0))


@seed(20)
@settings(max_examples=500, deadline=None)
@given(DATA, MAYBE, TIMES)
def test_an_outcome_is_written_as_its_model_writes_it(
    data: OutcomeData, traceparent: str | None, now: datetime
) -> None:
    """The bytes are those of ``OutcomeEvent``, without a subject or trace context that is not known."""
    event = OutcomeEvent(
        id=outcome_id(data),
        type=TYPES[type(data)],
        subject=data.snapshot_id,
        time=now,
        correlationid=data.cause.id,
        traceparent=traceparent,
        data=data,
    )
    unset = {name for name in ("subject", "traceparent") if getattr(event, name) is None}
    written = outcome(data, traceparent=traceparent, now=now)
    assert event.model_dump_json(exclude=unset).encode() == written.body
    assert (event.id, event.type, data) == (written.id, written.type, written.data)
