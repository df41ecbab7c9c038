"""The metrics of several processes as one's: sums, gauges by their meaning, counters that never go back."""

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from handler.backup.breaker import ScopedFailure
from handler.status.metrics import PREFIX
from handler.supervisor.totals import GAUGES, Totals
from tests.unit.status.test_metrics import Measured

Samples = Mapping[tuple[str, str], float]


def page(text: str) -> str:
    """Return a page of these samples, each under its type."""
    lines = []
    for line in text.splitlines():
        name = line.partition(" ")[0].partition("{")[0]
        kind = "counter" if name.endswith("_total") else "gauge"
        if (head := f"# TYPE {PREFIX}{name} {kind}") not in lines:
            lines.append(head)
        lines.append(f"{PREFIX}{line}")
    return "\n".join(lines) + "\n"


def samples(totals: Totals, answering: Sequence[int]) -> Samples:
    """Return the samples of the page, by name and labels."""
    families = text_string_to_metric_families(totals.page(answering).body.decode())
    return {
        (sample.name.removeprefix(PREFIX), ",".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_counters_of_all_processes_are_summed_by_their_labels() -> None:
    """A label that one process alone has seen is there too."""
    totals = Totals(lambda: 0)
    totals.read(1, page('events_total{form="data"} 2'))
    totals.read(2, page('events_total{form="data"} 3\nevents_total{form="cinder"} 1'))
    found = samples(totals, [1, 2])
    assert (5.0, 1.0) == (found["events_total", "data"], found["events_total", "cinder"])


def test_a_histogram_is_summed_bucket_by_bucket() -> None:
    """The sum has the buckets of each process, in their order."""
    one, two, totals = Measured(), Measured(), Totals(lambda: 0)
    for measured, seconds in ((one, 0.25), (two, 0.25), (two, 50_000.0)):
        measured.counters.event_seconds.count(seconds)
    totals.read(1, one.page().body.decode())
    totals.read(2, two.page().body.decode())
    found = samples(totals, [1, 2])
    assert (50_000.5, 3.0) == (found["event_seconds_sum", ""], found["event_seconds_count", ""])
    buckets = [(le, value) for (name, le), value in found.items() if name == "event_seconds_bucket"]
    assert [("0.1", 0.0), ("1.0", 2.0), ("86400.0", 3.0), ("+Inf", 3.0)] == [*buckets[:2], *buckets[-2:]]


def test_a_gauge_is_merged_by_its_meaning() -> None:
    """Messages in hand are summed, a pause is the same for all, and a ledger has to answer everywhere."""
    totals = Totals(lambda: 0)
    totals.read(1, page("in_hand 3\npaused 1\nledger_reachable 1"))
    totals.read(2, page("in_hand 4\npaused 1\nledger_reachable 0"))
    found = samples(totals, [1, 2])
    names = ("in_hand", "paused", "ledger_reachable")
    assert [7.0, 1.0, 0.0] == [found[name, ""] for name in names]


def test_a_circuit_breaker_is_closed_where_all_are() -> None:
    """An alert on what is not closed sees one of several processes."""
    closed, opened, totals = Measured(), Measured(), Totals(lambda: 0)
    opened.breaker.record_failure(ScopedFailure("service", "401", why="denied"))
    totals.read(1, closed.page().body.decode())
    totals.read(2, opened.page().body.decode())
    found = samples(totals, [1, 2])
    states = [found["circuit_breaker_state", state] for state in ("closed", "open", "half_open")]
    assert ([0.0, 1.0, 0.0], 1.0) == (states, found["circuit_breaker_reason", "denied"])


def test_every_gauge_has_a_rule() -> None:
    """A gauge without a rule would silently be the largest of all."""
    families = text_string_to_metric_families(Measured().page().body.decode())
    assert {family.name for family in families if family.type == "gauge"} == set(GAUGES)


def test_every_metric_of_a_worker_is_on_the_page() -> None:
    """A query that works for one process works for several."""
    totals, one = Totals(lambda: 0), Measured().page().body.decode()
    totals.read(1, one)
    assert {family.name for family in text_string_to_metric_families(one)} == {
        family.name for family in text_string_to_metric_families(totals.page([1]).body.decode())
    }


def test_what_an_ended_process_had_counted_stays() -> None:
    """Its gauges go with it; the next process in its place counts from zero."""
    totals = Totals(lambda: 1)
    totals.read(1, page('events_total{form="data"} 2\nin_hand 3'))
    totals.retire(1)
    gone = samples(totals, [])
    totals.read(1, page('events_total{form="data"} 1\nin_hand 4'))
    found = samples(totals, [1])
    assert (2.0, False) == (gone["events_total", "data"], ("in_hand", "") in gone)
    assert (3.0, 4.0) == (found["events_total", "data"], found["in_hand", ""])
    assert 1.0 == found["process_restarts_total", ""]


def test_a_process_that_is_silent_keeps_its_counts_and_has_no_gauges() -> None:
    """Its last counts stay in the sum, since the sum must not go back; it may not be consuming any more."""
    totals = Totals(lambda: 0)
    totals.read(1, page('events_total{form="data"} 2\nin_hand 3'))
    totals.read(2, page('events_total{form="data"} 5\nin_hand 4'))
    found = samples(totals, [2])
    assert (7.0, 4.0) == (found["events_total", "data"], found["in_hand", ""])


def test_an_end_without_a_reading_changes_nothing() -> None:
    """A process that ended before it was asked had counted nothing that was shown."""
    totals = Totals(lambda: 0)
    totals.retire(1)
    assert {("process_restarts_total", "")} == set(samples(totals, []))


@pytest.mark.parametrize("part", range(5))
def test_no_counter_goes_back_whatever_happens(part: int, rng: Random) -> None:
    """Counts, ends, starts and silence in any order: each page shows at least what the one before showed.

    Seconds are no whole numbers, and their sum depends on the order: Prometheus would take a smaller last
    digit for a restart, and count everything twice.
    """
    totals, counts, last = Totals(lambda: 0), {1: 0.0, 2: 0.0, 3: 0.0}, 0.0
    for _ in range(100):
        number = rng.choice(list(counts))
        if rng.random() < 0.2:
            totals.retire(number)
            counts[number] = 0.0
        counts[number] += rng.choice([0.0, 0.0, rng.random()])
        totals.read(number, page(f'events_total{{form="data"}} {counts[number]}'))
        shown = samples(totals, rng.sample(list(counts), part % 4))["events_total", "data"]
        assert shown >= last, (part, shown, last)
        last = shown
