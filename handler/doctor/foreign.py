"""Checks of foreign exchanges: those of other systems that ``SNAPSHOT_BINDINGS`` names."""

from collections.abc import AsyncIterator, Iterator

from handler.broker.connection import BrokerConnection
from handler.broker.declaration import Declaration
from handler.broker.difference import difference
from handler.broker.topology import Binding, Topology
from handler.doctor.findings import Finding
from handler.doctor.probe import INVALID_EXCHANGE, NOT_FOUND, ask, refused

_BOUND = "exists, and is bound now"
_UNKNOWN = (
    "exists; AMQP cannot show whether it is bound. topology declare and each worker at start bind it, a "
    "function does not; events published before that are lost"
)


async def examine_foreign(
    connection: BrokerConnection, topology: Topology, declaration: Declaration | None
) -> AsyncIterator[Finding]:
    """Check each exchange of ``SNAPSHOT_BINDINGS``; ``declaration`` says what was bound just now."""
    for name in dict.fromkeys(exchange for exchange, _ in topology.foreign):
        found = await _exchange(connection, name, bound=declaration is not None)
        if declaration and found.state != "bad" and (unbound := list(_unbound(name, declaration))):
            for each in unbound:
                yield each
        else:
            yield found


def _unbound(exchange: str, declaration: Declaration) -> Iterator[Finding]:
    """Yield a finding for each binding to this exchange that could not be made."""
    for binding, problem in declaration.foreign:
        if problem and isinstance(binding, Binding) and binding.source == exchange:
            text = f"not bound: {problem}; events published there are lost"
            remedy = "fix that, and run snapshot-backup topology declare"
            yield Finding("broker", f"binding {binding}", "bad", text, remedy)


async def _exchange(connection: BrokerConnection, name: str, *, bound: bool) -> Finding:
    what = f"exchange {name}"
    answer = await ask(connection, "exchange_declare", exchange=name, passive=True)
    if refused(answer, NOT_FOUND):
        return Finding(
            "broker",
            what,
            "bad",
            "does not exist, but SNAPSHOT_BINDINGS names it: no event arrives from it",
            "check the name in SNAPSHOT_BINDINGS. After its owner has declared it, each worker binds it "
            "within seconds; without one, run topology declare: events published before that are lost",
        )
    # A user without the right to configure gets 403 here; any other user learns how it differs from a durable
    # topic exchange.
    answer = await ask(
        connection,
        "exchange_declare",
        exchange=name,
        exchange_type="topic",
        durable=True,
        arguments=INVALID_EXCHANGE,
    )
    unlike = difference(str(answer))
    if unlike and unlike.argument == "type" and unlike.found == "headers":
        remedy = "SNAPSHOT_BINDINGS: name a topic, direct or fanout exchange"
        return Finding("broker", what, "bad", "a headers exchange does not route by routing key", remedy)
    if unlike and unlike.argument == "durable":
        text = (
            "not durable: a restart of the broker deletes it and the binding. A worker binds it again; for a "
            "function, run topology declare again"
        )
        return Finding("broker", what, "warning", text, "ask its owner to declare it durable")
    return Finding("broker", what, "ok", _BOUND if bound else _UNKNOWN)
