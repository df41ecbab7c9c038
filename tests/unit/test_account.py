"""The account of a run: what counts, and what is unaccounted for."""

from typing import Any

from infra.local.account import Account, Entry
from infra.local.samples import Sample, generated, samples


def sample(event_id: str, *, ends: str = "completed") -> Sample:
    """A structured CloudEvent with this id."""
    ids = {
        "volume_id": "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
        "snapshot_id": "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8",
        "project_id": "p",
    }
    body = {"specversion": "1.0", "id": event_id, "source": "/t", "type": "snapshot.completed", "data": ids}
    return Sample.model_validate({"what": event_id, "form": "test", "ends": ends, "body": body})


def foreign() -> Sample:
    """A notification of something else."""
    body = {"event_type": "volume.create.end", "payload": {}}
    return Sample(what="other", form="test", ends="ignored", body=body)


def outcome(event_id: str, kind: str, *, outcome_id: str = "o", dead: bool = False) -> dict[str, Any]:
    """An outcome as it is on the bus, as far as the account reads it."""
    type_ = f"backup.{kind}"
    return {"id": outcome_id, "type": type_, "correlationid": event_id, "data": {"dead_lettered": dead}}


def sent(*messages: Sample) -> Account:
    """An account of these messages."""
    account = Account()
    for message in messages:
        account.send(message)
    return account


def test_what_was_never_told_is_unaccounted_for() -> None:
    """An event without an end is a problem, named by what it is."""
    account = sent(sample("a"), sample("b"))
    account.told(outcome("a", "completed"))
    assert ["b (test): no outcome"] == list(account.problems())
    assert not account.is_settled


def test_acceptance_is_no_end() -> None:
    """After `backup.accepted` alone an event is still open."""
    account = sent(sample("a"))
    account.told(outcome("a", "accepted"))
    assert (1, 0) == (account.count("accepted"), account.ended)
    assert ["a (test): no outcome"] == list(account.problems())


def test_an_event_with_two_ends_is_unaccounted_for() -> None:
    """Two different terminal outcomes of one event contradict each other."""
    account = sent(sample("a"))
    account.told(outcome("a", "completed", outcome_id="1"))
    account.told(outcome("a", "failed", outcome_id="2"))
    assert ["a (test): several ends (completed, failed)"] == list(account.problems())


def test_the_same_end_told_again_counts_once() -> None:
    """A repeat has the same outcome id and changes no count."""
    account = sent(sample("a"))
    for _ in range(2):
        account.told(outcome("a", "accepted"))
        account.told(outcome("a", "completed"))
    assert (1, 1) == (account.count("accepted"), account.count("completed"))
    assert [] == list(account.problems())


def test_a_second_copy_is_no_second_event_but_is_waited_for() -> None:
    """`sent` counts events; a run is settled when each copy has been told of."""
    account = sent(sample("a"), sample("a"))
    account.told(outcome("a", "completed"))
    assert (1, 1, False) == (len(account.entries), account.copies, account.is_settled)
    account.told(outcome("a", "completed"))
    assert account.is_settled


def test_foreign_notifications_have_to_be_seen_as_ignored() -> None:
    """They are no events, but one that nobody ignored has vanished."""
    account = sent(foreign())
    assert not account.is_settled
    assert ["of 1 other notifications only 0 were ignored"] == list(account.problems())
    account.ignored += 1
    assert (True, 0) == (account.is_settled, len(account.entries))


def test_somebody_elses_outcome_changes_nothing() -> None:
    """An outcome of an event that was not sent here is told apart."""
    account = sent(sample("a"))
    assert account.told(outcome("b", "completed")) is None
    assert 0 == account.ended


def test_the_ends_come_to_what_was_sent() -> None:
    """completed + failed + skipped = sent, whatever else was on the way."""
    account = sent(sample("a"), sample("b"), sample("c"), sample("c"), foreign())
    for event_id, kind in (("a", "completed"), ("b", "skipped"), ("c", "failed"), ("c", "failed")):
        account.told(outcome(event_id, kind, outcome_id=event_id, dead=kind == "failed"))
    summary = account.summary(backups=1, dead=2, waiting=0)
    assert (3, 1, 1, 1) == (summary.sent, summary.completed, summary.failed, summary.skipped)
    assert 2 == account.dead_tellings


def test_samples_hold_every_end_a_copy_and_each_kind_of_trouble() -> None:
    """What a first run shows is complete."""
    all_of_them = samples()
    account = sent(*all_of_them)
    assert {"completed", "failed", "skipped", "ignored"} == {each.ends for each in all_of_them}
    assert account.copies >= 2
    effects = {each.fault["effect"] for each in all_of_them if each.fault}
    assert {"status", "drop_after", "fail_later"} == effects


def test_only_foreign_samples_have_no_event_id() -> None:
    """What is to be ignored has no outcome, and everything else has."""
    assert [each.what for each in samples() if each.ends == "ignored"] == [
        each.what for each in samples() if each.event_id is None
    ]


def test_generated_events_repeat_with_the_seed(seed: int) -> None:
    """The same seed gives the same messages, all of different events."""
    first = [each.message for each in generated(60, seed)]
    assert first == [each.message for each in generated(60, seed)]
    assert 60 == len({each.event_id for each in generated(60, seed)})


def test_an_entry_is_told_with_its_last_copy() -> None:
    """As many tellings as copies."""
    assert not Entry("w", "f", copies=2, tellings=1).is_told
    assert Entry("w", "f", copies=2, tellings=2).is_told
