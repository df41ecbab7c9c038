"""Unit tests of the account of a run: what it counts, and which problems it reports."""

from typing import Any

from infra.local.account import Account, Entry
from infra.local.samples import Sample, generated, samples


def sample(event_id: str, *, ends: str = "completed") -> Sample:
    """Return a structured CloudEvent with this id."""
    ids = {
        "volume_id": "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
        "snapshot_id": "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8",
        "project_id": "p",
    }
    body = {"specversion": "1.0", "id": event_id, "source": "/t", "type": "snapshot.completed", "data": ids}
    return Sample.model_validate({"what": event_id, "form": "test", "ends": ends, "body": body})


def foreign() -> Sample:
    """Return a notification of something else."""
    body = {"event_type": "volume.create.end", "payload": {}}
    return Sample(what="other", form="test", ends="ignored", body=body)


def outcome(event_id: str, kind: str, *, outcome_id: str = "o", dead: bool = False) -> dict[str, Any]:
    """Return an outcome with the fields that the account reads."""
    type_ = f"backup.{kind}"
    return {"id": outcome_id, "type": type_, "correlationid": event_id, "data": {"dead_lettered": dead}}


def sent(*messages: Sample) -> Account:
    """Return an account to which these messages were added."""
    account = Account()
    for message in messages:
        account.send(message)
    return account


def test_an_event_without_an_outcome_is_a_problem() -> None:
    """The account names the event that has no terminal outcome."""
    account = sent(sample("a"), sample("b"))
    account.add_outcome(outcome("a", "completed"))
    assert ["b (test): no outcome"] == list(account.problems())
    assert not account.is_settled


def test_an_accepted_event_has_not_ended() -> None:
    """An event with `backup.accepted` alone has no terminal outcome."""
    account = sent(sample("a"))
    account.add_outcome(outcome("a", "accepted"))
    assert (1, 0) == (account.count("accepted"), account.ended)
    assert ["a (test): no outcome"] == list(account.problems())


def test_an_event_with_two_outcomes_is_a_problem() -> None:
    """Two different terminal outcomes of one event contradict each other."""
    account = sent(sample("a"))
    account.add_outcome(outcome("a", "completed", outcome_id="1"))
    account.add_outcome(outcome("a", "failed", outcome_id="2"))
    assert ["a (test): several outcomes (completed, failed)"] == list(account.problems())


def test_an_outcome_that_is_published_again_counts_once() -> None:
    """A second publication has the same outcome id and changes no count."""
    account = sent(sample("a"))
    for _ in range(2):
        account.add_outcome(outcome("a", "accepted"))
        account.add_outcome(outcome("a", "completed"))
    assert (1, 1) == (account.count("accepted"), account.count("completed"))
    assert [] == list(account.problems())


def test_a_second_copy_is_not_an_event_but_needs_an_outcome() -> None:
    """`sent` counts events, but a run is settled only when each copy has an outcome."""
    account = sent(sample("a"), sample("a"))
    account.add_outcome(outcome("a", "completed"))
    assert (1, 1, False) == (len(account.entries), account.copies, account.is_settled)
    account.add_outcome(outcome("a", "completed"))
    assert account.is_settled


def test_a_foreign_notification_must_be_reported_as_ignored() -> None:
    """A foreign notification counts as lost until the worker has logged that it ignored it."""
    account = sent(foreign())
    assert not account.is_settled
    assert ["1 other notifications were sent, but only 0 ignored"] == list(account.problems())
    account.ignored += 1
    assert (True, 0) == (account.is_settled, len(account.entries))


def test_an_outcome_of_another_producers_event_changes_nothing() -> None:
    """The account has no entry for an event that this run did not send."""
    account = sent(sample("a"))
    assert account.add_outcome(outcome("b", "completed")) is None
    assert 0 == account.ended


def test_the_terminal_outcomes_add_up_to_the_events_sent() -> None:
    """completed + failed + skipped = sent, also with copies and foreign notifications."""
    account = sent(sample("a"), sample("b"), sample("c"), sample("c"), foreign())
    for event_id, kind in (("a", "completed"), ("b", "skipped"), ("c", "failed"), ("c", "failed")):
        account.add_outcome(outcome(event_id, kind, outcome_id=event_id, dead=kind == "failed"))
    summary = account.summary(backups=1, dead=2, waiting=0)
    assert (3, 1, 1, 1) == (summary.sent, summary.completed, summary.failed, summary.skipped)
    assert 2 == account.dead_lettered


def test_the_samples_cover_every_outcome_a_copy_and_each_kind_of_fault() -> None:
    """A first run shows each outcome, a second copy and each effect of a fault."""
    all_of_them = samples()
    account = sent(*all_of_them)
    assert {"completed", "failed", "skipped", "ignored"} == {each.ends for each in all_of_them}
    assert account.copies >= 2
    effects = {each.fault["effect"] for each in all_of_them if each.fault}
    assert {"status", "drop_after", "fail_later"} == effects


def test_only_foreign_samples_have_no_event_id() -> None:
    """A sample has an event id exactly if it has an outcome."""
    assert [each.what for each in samples() if each.ends == "ignored"] == [
        each.what for each in samples() if each.event_id is None
    ]


def test_generated_events_repeat_with_the_seed(seed: int) -> None:
    """The same seed gives the same messages, each of a different event."""
    first = [each.message for each in generated(60, seed)]
    assert first == [each.message for each in generated(60, seed)]
    assert 60 == len({each.event_id for each in generated(60, seed)})


def test_an_entry_is_settled_when_each_copy_has_an_outcome() -> None:
    """An entry is settled when it has as many terminal outcomes as copies."""
    assert not Entry("w", "f", copies=2, terminal_outcomes=1).is_settled
    assert Entry("w", "f", copies=2, terminal_outcomes=2).is_settled
