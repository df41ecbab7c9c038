"""/metrics: the page of Prometheus metrics; extra ``metrics``.

Nothing is counted here: each scrape reads the plain counters. Labels are few, and no label's value comes
from an event. ``HELP`` says what each metric means. The dashboard, the alerts and their README use the names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import accumulate
from typing import Final, TypeVar, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from events.message import WaitReason
from events.outcome import TYPES, Category
from handler.backup.breaker import BreakerState
from handler.backup.clouds import AnyBreaker, Breakers
from handler.backup.control import Control
from handler.backup.evidence import Route
from handler.broker.topology import Topology
from handler.status.server import Answer
from handler.telemetry.counters import SIGN_INS, Counters, Histogram
from handler.worker.worker import Worker

PREFIX: Final = "snapshot_backup_"

HELP: Final[Mapping[str, str]] = {
    "events": "Events received, by form; not counted again when they return from a wait queue.",
    "returned": "Messages that came back from a wait queue.",
    "ignored": "Notifications that are not for us.",
    "outcomes": "Outcomes published, by type and (for backup.failed) category.",
    "waiting": "Messages delayed, by reason.",
    "waits": "Messages published to each wait queue, by its delay in seconds.",
    "waits_overdue": "Messages due for 30 s and not back from their wait queue, by its delay, where known.",
    "waits_swept": "Messages published again from the ledger, since the broker had not returned them.",
    "event_seconds": "Time from an event's first delivery to its terminal outcome.",
    "event_age_seconds": "Age of events that have no end yet, since their first delivery, at each delay.",
    "second_backups": "Times that a snapshot was seen with a second backup: the one promise is broken.",
    "unfinished_backup_seconds": "Age of backups that were still in progress when they were tracked.",
    "api_calls": "Calls of the API and its sign-in (route token), by route and HTTP status.",
    "api_call_seconds": "Duration of calls, by route.",
    "sign_ins": "Sign-ins with a password, by result: granted, refused, unavailable.",
    "in_hand": "Messages in hand: being handled now.",
    "in_hand_oldest_seconds": "How long the oldest message in hand has been handled.",
    "consuming": "1 while the worker consumes.",
    "concurrency": "How many messages may be in hand now; 0 while the circuit breaker is open.",
    "circuit_breaker_state": "1 for the state of the circuit breaker: closed, half_open, open.",
    "circuit_breaker_reason": "1 for why the circuit breaker is not closed: a category, or ledger.",
    "route_held": "1 while calls of this route are held, since it fails alone; the others go on.",
    "projects_held": "How many projects are held, since their calls fail alone.",
    "paused": "1 while an operator has paused the queue: new events wait, and backups are tracked on.",
    "paused_projects": "How many projects an operator has paused.",
    "cloud_state": "1 for the state of a cloud's circuit breaker, where OS_CLOUD names several clouds.",
    "confirms_outstanding": "Published messages that the broker has not confirmed yet.",
    "redelivered": "Deliveries of messages that were delivered before.",
    "unroutable": "Publishes of outcomes that no queue was bound for, or that the broker refused.",
    "outcomes_unroutable": "1 while outcomes of this type reach no queue: events wait, and backups are made.",
    "broker_connections": "Connections made to the broker; each after the first is a reconnect.",
    "running_backups": "Backups in progress by limit, in all processes; only where a limit is set.",
    "waiting_for_room": "Messages that wait for fewer backups to be in progress, in all processes.",
    "ledger_commits": "Transactions that the ledger committed.",
    "ledger_group_size": "Changes in one transaction of the ledger.",
    "ledger_failures": "Transactions of the ledger that failed.",
    "ledger_reachable": "1 where the latest use of the ledger succeeded.",
    "ledger_free_bytes": "Free disk space where the ledger's file is (SQLite only).",
    "processes": "Worker processes that answer: 1, or up to N with worker --processes N.",
    "process_restarts": "Worker processes that ended by themselves and were started again by --processes.",
}

BREAKER_REASONS: Final = ("denied", "unavailable", "throttled", "in_doubt", "ledger")
"""What can open the circuit breaker."""

# These series exist from the start: Prometheus sees no increase of one that appears with its first event.
_WAITS: Final = dict.fromkeys(get_args(WaitReason), 0)
_OUTCOMES: Final[dict[tuple[str, str], int]] = dict.fromkeys(
    [("backup.accepted", ""), ("backup.completed", ""), ("backup.skipped", "")]
    + [("backup.failed", category.value) for category in Category],
    0,
)


@dataclass(frozen=True, slots=True)
class Sources:
    """What the metrics are read from; ``free_bytes`` returns None where the ledger is no file.

    ``control`` returns what operators have set.
    """

    counters: Counters
    breaker: AnyBreaker
    worker: Worker
    topology: Topology
    free_bytes: Callable[[], int | None]
    control: Callable[[], Control] = Control


class CounterCollector(Collector):
    """The Prometheus collector: reads the counters at each scrape."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of ``HELP``."""
        yield from self._messages()
        yield from self._api()
        yield from self._flow()
        yield from self._ledger()

    def _messages(self) -> Iterator[Metric]:
        counters, topology = self._sources.counters, self._sources.topology
        yield _counters("events", ["form"], _single(counters.events))
        yield _counter("returned", counters.returned)
        yield _counter("ignored", counters.ignored)
        yield _counters("outcomes", ["type", "category"], (_OUTCOMES | counters.outcomes).items())
        yield _counters("waiting", ["reason"], _single(_WAITS | counters.waits))
        delays = {str(delay): counters.delays[topology.wait_queue(delay)] for delay in topology.delays}
        yield _counters("waits", ["seconds"], _single(delays))
        overdue = (
            {} if counters.overdue is None else {**dict.fromkeys(topology.delays, 0), **counters.overdue}
        )
        yield _gauges("waits_overdue", "seconds", {str(delay): count for delay, count in overdue.items()})
        yield _counter("waits_swept", counters.swept)
        yield _histogram("event_seconds", [], [((), counters.event_seconds)])
        yield _histogram("event_age_seconds", [], [((), counters.event_ages)])
        yield _counter("second_backups", counters.second_backups)
        yield _histogram("unfinished_backup_seconds", [], [((), counters.unfinished)])

    def _api(self) -> Iterator[Metric]:
        counters = self._sources.counters
        yield _counters("api_calls", ["route", "status"], counters.calls.items())
        yield _histogram("api_call_seconds", ["route"], _single(counters.latencies))
        yield _counters("sign_ins", ["result"], _single(dict.fromkeys(SIGN_INS, 0) | counters.sign_ins))

    def _flow(self) -> Iterator[Metric]:
        counters, breaker, worker = self._sources.counters, self._sources.breaker, self._sources.worker
        session = worker.session
        yield _gauge("in_hand", session.in_hand if session else 0)
        yield _gauge("in_hand_oldest_seconds", session.oldest if session else 0.0)
        yield _gauge("consuming", int(session is not None and session.consuming))
        yield _gauge("concurrency", breaker.limit)
        yield _one_of("circuit_breaker_state", "state", get_args(BreakerState), breaker.state)
        yield _one_of("circuit_breaker_reason", "why", BREAKER_REASONS, breaker.why)
        held: dict[str, float] = {route: int(route in breaker.held_routes) for route in get_args(Route)}
        yield _gauges("route_held", "route", held)
        yield _gauge("projects_held", breaker.held_projects)
        control = self._sources.control()
        yield _gauge("paused", int(control.queue is not None))
        yield _gauge("paused_projects", len(control.projects))
        yield _clouds(breaker)
        yield _gauge("confirms_outstanding", counters.unconfirmed)
        yield _counter("redelivered", counters.redeliveries)
        yield _counter("unroutable", counters.unroutable)
        missing: dict[str, float] = {each: int(each in counters.missing_routes) for each in TYPES.values()}
        yield _gauges("outcomes_unroutable", "type", missing)
        yield _counter("broker_connections", worker.connections)

    def _ledger(self) -> Iterator[Metric]:
        yield _gauges("running_backups", "limit", self._sources.counters.running)
        yield _gauge("waiting_for_room", self._sources.counters.waiting_for_room)
        counters = self._sources.counters.ledger
        yield _counter("ledger_commits", counters.commits)
        sizes = [(str(2**power), count) for power, count in enumerate(accumulate(counters.sizes[:-1]))]
        buckets = [*sizes, ("+Inf", sum(counters.sizes))]
        histogram = HistogramMetricFamily(f"{PREFIX}ledger_group_size", HELP["ledger_group_size"])
        histogram.add_metric([], buckets, counters.changes)
        yield histogram
        yield _counter("ledger_failures", counters.failures)
        yield _gauge("ledger_reachable", int(counters.reachable is True))
        if (free := self._sources.free_bytes()) is not None:
            yield _gauge("ledger_free_bytes", free)
        yield _gauge("processes", 1)
        yield _counter("process_restarts", 0)  # a supervisor adds its own


T = TypeVar("T")
Labelled = Iterable[tuple[Sequence[str], T]]
"""Values, each with its label values."""


def _single(values: Mapping[str, T]) -> Labelled[T]:
    return (((label,), value) for label, value in values.items())


def _counter(name: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}{name}", HELP[name], value)


def _counters(name: str, labels: Sequence[str], values: Labelled[float]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}{name}", HELP[name], labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", HELP[name], value)


def _gauges(name: str, label: str, values: Mapping[str, int] | Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}{name}", HELP[name], labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _one_of(name: str, label: str, possible: Iterable[str], present: str | None) -> GaugeMetricFamily:
    return _gauges(name, label, {word: int(word == present) for word in possible})


def _clouds(breaker: AnyBreaker) -> GaugeMetricFamily:
    """Return the state of each cloud; the names are those of ``OS_CLOUD``, so the labels are few."""
    family = GaugeMetricFamily(f"{PREFIX}cloud_state", HELP["cloud_state"], labels=["cloud", "state"])
    clouds = breaker.clouds if isinstance(breaker, Breakers) else {}
    for name, each in clouds.items():
        for state in get_args(BreakerState):
            family.add_metric([name, state], int(state == each.state))
    return family


def _histogram(name: str, labels: Sequence[str], histograms: Labelled[Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{PREFIX}{name}", HELP[name], labels=labels)
    for key, histogram in histograms:
        bounds = (*map(str, histogram.bounds), "+Inf")
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric(key, buckets, histogram.total)
    return family


class Metrics:
    """The page, with a registry of its own; it has the process's CPU time and memory too."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(CounterCollector(sources))
        ProcessCollector(registry=self._registry)

    def page(self) -> Answer:
        """Answer /metrics."""
        return Answer(HTTPStatus.OK, generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)
