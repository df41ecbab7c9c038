"""The metrics of all worker processes as those of one.

Counters and histograms are summed, and what an ended process had counted stays in the sum, so that none goes
back. Of a gauge it depends on the meaning: messages in hand are summed, and a pause is the same for all.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fractions import Fraction
from http import HTTPStatus
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from handler.status.metrics import HELP, PREFIX
from handler.status.server import Answer

Labels = tuple[tuple[str, str], ...]
Value = Fraction | float
"""What is summed is exact: else the last digit of seconds would depend on the order, and could go back."""

Merge = Callable[[Iterable[Any]], Any]

GAUGES: Final[Mapping[str, Merge]] = {
    f"{PREFIX}in_hand": sum,
    f"{PREFIX}in_hand_oldest_seconds": max,
    f"{PREFIX}consuming": sum,
    f"{PREFIX}concurrency": sum,
    f"{PREFIX}circuit_breaker_state": max,
    f"{PREFIX}circuit_breaker_reason": max,
    f"{PREFIX}route_held": max,
    f"{PREFIX}projects_held": max,
    f"{PREFIX}paused": max,
    f"{PREFIX}paused_projects": max,
    f"{PREFIX}cloud_state": max,
    f"{PREFIX}confirms_outstanding": sum,
    f"{PREFIX}outcomes_unroutable": max,
    f"{PREFIX}running_backups": max,
    f"{PREFIX}waiting_for_room": max,
    f"{PREFIX}waits_overdue": max,
    f"{PREFIX}ledger_reachable": min,
    f"{PREFIX}ledger_free_bytes": min,
    f"{PREFIX}processes": sum,
    "process_virtual_memory_bytes": sum,
    "process_resident_memory_bytes": sum,
    "process_start_time_seconds": max,
    "process_open_fds": max,
    "process_max_fds": min,
}
"""How the values of several processes become one. A gauge that is not named here is the largest of them."""

_CLOSED: Final = ("state", "closed")
"""A circuit breaker is closed where that of every process is; so an alert sees one that is not."""

_SUMMED: Final = frozenset({"counter", "histogram"})


class Family:
    """A metric: its kind, its help, and the value of each sample by name and labels."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.samples: dict[tuple[str, Labels], Value] = {}

    @property
    def summed(self) -> bool:
        """Whether the values of processes are added, also of those that have ended."""
        return self.kind in _SUMMED

    def add(self, other: "Family", merge: Callable[[Labels], Merge]) -> None:
        """Take the samples of another process in."""
        for key, value in other.samples.items():
            here = self.samples.get(key)
            self.samples[key] = value if here is None else merge(key[1])((here, value))

    def metric(self) -> Metric:
        """Return it as the library has it."""
        metric = Metric(self.name, self.text, self.kind)
        for (name, labels), value in self.samples.items():
            metric.add_sample(name, dict(labels), float(value))
        return metric


Families = Mapping[str, Family]


def read(page: str) -> Families:
    """Read the page /metrics of a worker."""
    families = {}
    for metric in text_string_to_metric_families(page):
        family = families[metric.name] = Family(metric.name, metric.type, metric.documentation)
        for sample in metric.samples:
            value = Fraction(sample.value) if family.summed else sample.value
            family.samples[sample.name, tuple(sample.labels.items())] = value
    return families


def combined(pages: Iterable[Families]) -> dict[str, Family]:
    """Return the metrics of several processes as one's."""
    found: dict[str, Family] = {}
    for families in pages:
        for name, family in families.items():
            if name not in found:
                found[name] = Family(name, family.kind, family.text)
            found[name].add(family, lambda labels, family=family: _merge(family, labels))  # type: ignore[misc]
    return found


def _merge(family: Family, labels: Labels) -> Merge:
    if family.summed:
        return sum
    return min if _CLOSED in labels else GAUGES.get(family.name, max)


class Totals(Collector):
    """The metrics of all processes; ``restarts`` returns how many the supervisor has started again."""

    def __init__(self, restarts: Callable[[], int]) -> None:
        self._restarts = restarts
        self._latest: dict[int, Families] = {}
        self._ended: Families = {}
        self._answering: Collection[int] = ()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def read(self, number: int, page: str) -> None:
        """Take in what a worker has answered."""
        self._latest[number] = read(page)

    def retire(self, number: int) -> None:
        """Keep what a worker had counted that has ended, as far as it was read."""
        self._ended = combined([self._ended, _counted(self._latest.pop(number, {}))])

    def page(self, answering: Collection[int]) -> Answer:
        """Answer /metrics; of the gauges with those of the workers that are ``answering`` now."""
        self._answering = answering
        return Answer(HTTPStatus.OK, generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        pages = [
            families if number in self._answering else _counted(families)
            for number, families in self._latest.items()
        ]
        for family in combined([self._own(), self._ended, *pages]).values():
            yield family.metric()

    def _own(self) -> Families:
        name = f"{PREFIX}process_restarts"
        family = Family(name, "counter", HELP["process_restarts"])
        family.samples[f"{name}_total", ()] = Fraction(self._restarts())
        return {name: family}


def _counted(families: Families) -> Families:
    return {name: family for name, family in families.items() if family.summed}
