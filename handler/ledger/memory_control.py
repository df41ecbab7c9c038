"""What operators set, copies of messages that were replaced, and workers' reports, in a ledger in memory."""

from collections.abc import Sequence

from handler.backup.workers import SILENT_SECONDS, WorkerRecord, WorkerReport, Workers
from handler.ledger.control import REPLACED, SOON_SECONDS, Entry, Taken, WaitingChoice
from handler.ledger.memory_tables import Record, Tables


class MemoryControl:
    """The part of a transaction that is about control and workers; ``now`` is the time."""

    now: float
    _tables: Tables

    def entries(self, queue: str) -> Sequence[Entry]:
        """Read the entries of a queue."""
        replaced = Entry(REPLACED, max(self._tables.replaced.values(), default=None))
        return [replaced, *(each for (name, _), each in self._tables.entries.items() if name == queue)]

    def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue."""
        self._tables.entries[queue, entry.what] = entry

    def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue; return whether there was one."""
        return self._tables.entries.pop((queue, what), None) is not None

    def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait, with their bodies."""
        found = [
            each.taken()
            for each in self._tables.waiting.values()
            if (each.due_at > self.now + SOON_SECONDS or choice.also_due) and each.is_of(choice)
        ]
        return sorted(found, key=lambda each: each.due_at)[: choice.limit]

    def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now, with one wait more; False where it does not wait as it did."""
        now, found = self.now, self._tables.waiting.get(taken.id)
        if found is None or found.waiting.waits != taken.waits or found.due_at <= now:
            return False
        waiting = found.waiting._replace(body=body, waits=taken.waits + 1)
        self._tables.waiting[taken.id] = Record(waiting, now, now, now, found.journal)
        self._tables.replaced[taken.id, taken.waits] = taken.due_at
        return True

    def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended, and remember its copy at the broker."""
        found = self._tables.waiting.get(taken.id)
        if found is not None and found.waiting.waits == taken.waits:
            del self._tables.waiting[taken.id]
        self._tables.replaced[taken.id, taken.waits] = taken.due_at

    def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether the copy of a message that has waited so often is replaced."""
        return (waiting_id, waits) in self._tables.replaced

    def report(self, queue: str, report: WorkerReport) -> None:
        """Write a worker's row."""
        started_at = self.now - report.uptime
        record = WorkerRecord(*report[:4], started_at, self.now, *report[5:])
        self._tables.workers[queue, report.id] = record

    def workers(self, queue: str) -> Workers:
        """Read the workers of a queue."""
        rows = self._tables.workers.items()
        records = [each for (name, _), each in rows if name == queue]
        running = {name for (name, _), each in rows if self.now - each.seen_at < SILENT_SECONDS}
        return Workers(records, self.now, sorted(running - {queue})[:5])

    def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        kept = {key: each for key, each in self._tables.workers.items() if each.id != worker_id}
        self._tables.workers = kept
