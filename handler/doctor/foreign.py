"""Other people's exchanges, which ``SNAPSHOT_BINDINGS`` names; they are never declared."""

from collections.abc import AsyncIterator, Iterator

from handler.broker.connection import BrokerConnection
from handler.broker.declaration import Declaration
from handler.broker.difference import difference
from handler.broker.topology import Binding, Topology
from handler.doctor.findings import Finding
from handler.doctor.probe import INVALID_EXCHANGE, NOT_FOUND, ask, refused

_BOUND = "there, and bound now"
_UNKNOWN = (
    "there; AMQP cannot show whether it is bound: topology declare and each worker at start bind it, a "
    "function does not, and what it publishes before that is lost to us"
)


async def examine_foreign(
    connection: BrokerConnection, topology: Topology, declaration: Declaration | None
) -> AsyncIterator[Finding]:
    """Look at each exchange of ``SNAPSHOT_BINDINGS``; ``declaration`` is what was bound just now, if so."""
    for name in dict.fromkeys(exchange for exchange, _ in topology.foreign):
        found = await _exchange(connection, name, bound=declaration is not None)
        if declaration and found.state != "bad" and (unbound := list(_unbound(name, declaration))):
            for each in unbound:
                yield each
        else:
            yield found


def _unbound(exchange: str, declaration: Declaration) -> Iterator[Finding]:
    """Yield what could not be bound to an exchange that is there."""
    for binding, problem in declaration.foreign:
        if problem and isinstance(binding, Binding) and binding.source == exchange:
            text = f"not bound: {problem}; what is published there is lost to us"
            remedy = "mend that, and run topology declare"
            yield Finding("broker", f"binding {binding}", "bad", text, remedy)


async def _exchange(connection: BrokerConnection, name: str, *, bound: bool) -> Finding:
    what = f"exchange {name}"
    answer = await ask(connection, "exchange_declare", exchange=name, passive=True)
    if refused(answer, NOT_FOUND):
        return Finding(
            "broker",
            what,
            "bad",
            "SNAPSHOT_BINDINGS names it and it is not there: nothing comes from it",
            "check the name in SNAPSHOT_BINDINGS; once its owner has declared it run topology declare, or "
            "let a worker bind it: what is published to it before that is lost to us",
        )
    # Whoever may not configure it is refused before this; it would say what is unlike a durable topic.
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
        return Finding("broker", what, "bad", "a headers exchange has no routing keys", remedy)
    if unlike and unlike.argument == "durable":
        text = (
            "not durable: it and the binding go with a restart of the broker; a worker binds it again, for a "
            "function run topology declare again"
        )
        return Finding("broker", what, "warning", text, "its owner could declare it durable")
    return Finding("broker", what, "ok", _BOUND if bound else _UNKNOWN)
