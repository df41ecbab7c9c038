"""Checks of the number of messages and consumers of each queue."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from handler.backup.workers import Workers
from handler.broker.topology import Topology
from handler.doctor.findings import Finding
from handler.doctor.workers import count_workers


@dataclass(frozen=True, slots=True)
class Traffic:
    """The number of ready messages and of consumers of a queue."""

    messages: int
    consumers: int

    def __str__(self) -> str:
        return f"{_count(self.messages, 'message')}, {_count(self.consumers, 'consumer')}"


def traffic(topology: Topology, seen: Mapping[str, Traffic], workers: Workers | None) -> Iterator[Finding]:
    """Yield findings on what the queues hold; ``seen`` is by queue name, ``workers`` None if not known."""
    if main := seen.get(topology.queue):
        yield _main(topology, main, workers)
    # Parked outcomes have a finding of their own, and workers consume them for a moment.
    others = (topology.queue, topology.dead, topology.parked)
    waiting = {name: held for name, held in seen.items() if name not in others}
    if waiting:
        yield _waiting(waiting)
    for name, held in waiting.items():
        if held.consumers:
            yield _consumed(name, held)
    if dead := seen.get(topology.dead):
        yield _dead(topology, dead)


def _main(topology: Topology, held: Traffic, workers: Workers | None) -> Finding:
    """Return the finding on the main queue. A worker has several consumers once its prefetch has grown."""
    what, alive = f"queue {topology.queue}", workers.alive if workers else ()
    text = f"{held} of {count_workers(len(alive))}" if alive else str(held)
    if held.messages and not held.consumers:
        remedy = "no consumer handles them: start a worker"
        if alive:
            states = ", ".join(sorted({each.state for each in alive}))
            remedy = f"no worker consumes them now ({states}); the finding on workers says more"
        return Finding("broker", what, "warning", text, remedy)
    if held.consumers and workers is None:
        text += "; how many workers these are is not known without their ledger"
    elif held.consumers and not alive:
        text += (
            "; no worker reports to this ledger: a function, a worker of an earlier release, or one with "
            "another LEDGER_URL, which could make a second backup"
        )
    return Finding("broker", what, "ok", text)


def _waiting(held: Mapping[str, Traffic]) -> Finding:
    delays = [
        f"{each.messages} for {name.rpartition('.')[2]}" for name, each in held.items() if each.messages
    ]
    text = f"{', '.join(delays)}" if delays else "no message waits"
    return Finding("broker", "wait queues", "ok", text)


def _consumed(name: str, held: Traffic) -> Finding:
    text = f"{held}: delayed messages return to the main queue by themselves; a consumer here takes them away"
    return Finding("broker", f"queue {name}", "bad", text, "end the program that consumes it")


def _dead(topology: Topology, held: Traffic) -> Finding:
    what = f"dead letters {topology.dead}"
    if held.messages:
        remedy = "snapshot-backup dead-letters list shows why; then replay or drop them"
        return Finding("broker", what, "warning", _count(held.messages, "message"), remedy)
    return Finding("broker", what, "ok", "none")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
