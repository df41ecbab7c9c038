"""The vocabulary of the logs: every ``action`` that a line may carry, and what it means."""

from collections.abc import Mapping
from typing import Final

ACTIONS: Final[Mapping[str, str]] = {
    "worker.started": "the program begins, with what it was told",
    "worker.draining": "a signal came: nothing new is fetched, what is in hand is finished",
    "worker.stopped": "the program ends; messages that were left come again elsewhere",
    "summary": "what was done since the last summary, each minute in which anything was done",
    "broker.connected": "connected, and consuming begins",
    "broker.lost": "no connection to the broker; it is tried again",
    "broker.blocked": "the broker takes no messages for now (memory or disk), or takes them again",
    "broker.classic": "QUEUE_TYPE=classic, told at each start: waiting messages can be lost",
    "binding.missing": "an exchange of SNAPSHOT_BINDINGS is not there, or must not be bound to",
    "consume.refused": "the broker does not let the queue be consumed; it is tried again",
    "publish.refused": "the broker did not take a message; it is tried again, the event stays in hand",
    "topology.missing": "a queue of ours was deleted by somebody; it is declared again",
    "outcome.unroutable": "no queue is bound for an outcome; it is told again later",
    "message.accepted": "the API makes a backup of the snapshot, or one was found",
    "message.completed": "the backup is available",
    "message.failed": "there will be no backup of this event: it was told, and is among the dead letters",
    "message.skipped": "a snapshot that is deliberately left alone",
    "message.waiting": "the message waits in the broker and comes back (DEBUG)",
    "message.ignored": "a notification that is not for us (DEBUG)",
    "message.left": "the connection was lost with the message in hand; it will be delivered again",
    "message.unacknowledged": "a message could not be acknowledged; it will be delivered again (DEBUG)",
    "message.bug": "an error within the program; the message is tried again, or ends as a dead letter",
    "breaker.open": "nothing is fetched for a while: the API, its sign-in or the ledger is in trouble",
    "breaker.half_open": "the first good answer after a pause; more is fetched step by step",
    "breaker.closed": "everything is fetched again, after so many seconds",
    "backup.second": "a snapshot has more than one backup: made by somebody else, or a broken promise",
    "ledger.second_backup": "a second backup was written down for a snapshot; the first is kept",
    "http.listening": "/healthz, /readyz and /metrics can be asked at this address",
    "http.bug": "an error within the program while it answered a probe",
    "metrics.missing": "HTTP_ADDRESS is set, but the extra for /metrics is not installed",
    "tracing.started": "spans are exported as the OTEL_* variables say",
}
