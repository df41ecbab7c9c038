"""Every ``action`` that a log line may have, and its meaning."""

from collections.abc import Mapping
from typing import Final

ACTIONS: Final[Mapping[str, str]] = {
    "worker.started": "the program starts, with its settings",
    "worker.draining": "a signal came: no more messages are fetched, those in hand are finished",
    "worker.stopped": "the program ends; messages left in hand are redelivered to another worker",
    "summary": "counts since the last summary, each minute unless they are all zero",
    "broker.connected": "connected to the broker; consuming starts",
    "broker.lost": "the connection to the broker failed or was lost; the worker reconnects",
    "broker.blocked": "the broker blocks the connection (memory or disk alarm), or unblocks it",
    "broker.classic": "QUEUE_TYPE=classic, logged at each start: waiting messages can be lost",
    "binding.missing": "an exchange of SNAPSHOT_BINDINGS does not exist, or may not be bound; retried",
    "consume.refused": "the broker refuses to let the queue be consumed; the worker tries again",
    "publish.refused": "the broker refused a publish; it is retried while the event stays in hand",
    "topology.missing": "one of our queues was deleted; it is declared again",
    "outcome.unroutable": "no queue is bound for an outcome; it is published again later",
    "message.accepted": "the API accepted a backup of the snapshot, or a lookup found one",
    "message.completed": "the backup is available",
    "message.failed": "the event failed: its outcome is published, and the message dead-lettered",
    "message.skipped": "the snapshot is skipped by a setting or a rule",
    "message.waiting": "the message is in a wait queue and comes back (DEBUG)",
    "message.ignored": "a notification that is not for us (DEBUG)",
    "message.left": "the connection was lost with the message in hand; the broker delivers it again",
    "message.unacknowledged": "a message could not be acknowledged; the broker delivers it again (DEBUG)",
    "message.bug": "an error within the program; the message is retried, or dead-lettered",
    "breaker.open": "consuming stops for a time: the API, its sign-in or the ledger fails",
    "breaker.half_open": "the probe succeeded; consuming resumes step by step",
    "breaker.closed": "consuming is back at full concurrency",
    "backup.second": "a snapshot has more than one backup: another program made one, or we made two",
    "ledger.second_backup": "the ledger got a second backup of a snapshot; it keeps the first",
    "http.listening": "/healthz, /readyz and /metrics are served at this address",
    "http.bug": "an error within the program while it answered a request to HTTP_ADDRESS",
    "metrics.missing": "HTTP_ADDRESS is set, but the extra for /metrics is not installed",
    "tracing.started": "spans are exported as the OTEL_* variables say",
}
