"""Other people's exchanges, which ``SNAPSHOT_BINDINGS`` names; they are never declared."""

from collections.abc import AsyncIterator

from handler.broker.difference import difference
from handler.broker.link import Link
from handler.broker.topology import Topology
from handler.doctor.findings import Finding
from handler.doctor.probe import INVALID_EXCHANGE, NOT_FOUND, ask, refused


async def examine_foreign(link: Link, topology: Topology) -> AsyncIterator[Finding]:
    """Look at each exchange of ``SNAPSHOT_BINDINGS``."""
    for name in dict.fromkeys(exchange for exchange, _ in topology.foreign):
        yield await _exchange(link, name)


async def _exchange(link: Link, name: str) -> Finding:
    what = f"exchange {name}"
    answer = await ask(link, "exchange_declare", exchange=name, passive=True)
    if refused(answer, NOT_FOUND):
        return Finding(
            "broker",
            what,
            "bad",
            "SNAPSHOT_BINDINGS names it and it is not there: nothing comes from it",
            "check the name in SNAPSHOT_BINDINGS; its owner declares it, and a worker binds it within 30 s",
        )
    # Whoever may not configure it is refused before this; it would say what is unlike a durable topic.
    answer = await ask(
        link,
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
        text = "not durable: it and the binding go with a restart of the broker; a worker binds it again"
        return Finding("broker", what, "warning", text, "its owner could declare it durable")
    return Finding("broker", what, "ok", "there, bound by each worker at start")
