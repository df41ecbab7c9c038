"""Checks of queues and exchanges: do they exist, and with the arguments of our topology?"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.backup.workers import Workers
from handler.broker.connection import BrokerConnection
from handler.broker.difference import Difference, difference
from handler.broker.topology import Exchange, Queue, Topology
from handler.doctor.findings import Finding
from handler.doctor.probe import INVALID_QUEUE, LOCKED, NOT_FOUND, PRECONDITION_FAILED, ask, refused
from handler.doctor.traffic import Traffic, traffic

_MOST_DIFFERENCES = 10
_TYPES = ("quorum", "classic")
_BY_TYPE = ("x-dead-letter-strategy", "x-overflow")
_FLAGS = ("durable", "auto_delete", "exclusive")


async def examine_queues(
    connection: BrokerConnection, topology: Topology, workers: Workers | None
) -> AsyncIterator[Finding]:
    """Compare existing exchanges and queues with our topology, and name missing ones."""
    missing: list[str] = []
    mismatches: dict[str, _Mismatch] = {}
    for exchange in topology.exchanges():
        if await _there(connection, "exchange", exchange.name, missing):
            _note(mismatches, exchange.name, await _exchange_differs(connection, exchange))
    seen: dict[str, Traffic] = {}
    for queue in topology.queues():
        answer = await _there(connection, "queue", queue.name, missing)
        if refused(answer, LOCKED):
            yield _exclusive(queue, str(answer))
        elif answer:
            _note(mismatches, queue.name, await _differences(connection, queue))
            seen[queue.name] = Traffic(answer.method.message_count, answer.method.consumer_count)
    for finding in (*map(_differs, mismatches.values()), *traffic(topology, seen, workers)):
        yield finding
    yield _declared(missing, mismatches)


async def _there(connection: BrokerConnection, kind: str, name: str, missing: list[str]) -> Any:
    """Return the broker's answer; None if the thing does not exist, which is noted in ``missing``."""
    answer = await ask(connection, f"{kind}_declare", **{kind: name, "passive": True})
    if refused(answer, NOT_FOUND):
        missing.append(name)
        return None
    return answer


@dataclass(slots=True)
class _Mismatch:
    """Differences, and the names of all queues or exchanges that have the same ones."""

    differences: Sequence[Difference]
    names: list[str] = field(default_factory=list)


def _note(mismatches: dict[str, _Mismatch], name: str, differences: Sequence[Difference]) -> None:
    if differences:
        listed = _without_consequences(differences)
        mismatches.setdefault("; ".join(map(str, listed)), _Mismatch(listed)).names.append(name)


def _without_consequences(differences: Sequence[Difference]) -> list[Difference]:
    """Leave out differences that only follow from a different queue type."""
    type_differs = any(found.argument == "x-queue-type" for found in differences)
    return [found for found in differences if not (type_differs and found.argument in _BY_TYPE)]


def _differs(mismatch: _Mismatch) -> Finding:
    first = mismatch.differences[0]
    text = f"declared with other arguments: {'; '.join(map(str, mismatch.differences))}"
    effect = next((found.effect for found in mismatch.differences if found.effect), "")
    what = f"{first.kind} {', '.join(mismatch.names)}"
    return Finding("broker", what, "bad", f"{text}: {effect}" if effect else text, _remedy(mismatch))


def _remedy(mismatch: _Mismatch) -> str:
    if mismatch.differences[0].kind == "exchange":
        return (
            "SNAPSHOT_EXCHANGE, SNAPSHOT_QUEUE or RESULT_EXCHANGE: use another name, or delete that exchange"
        )
    types = [found.means for found in mismatch.differences if found.argument == "x-queue-type"]
    choose = (
        f"set QUEUE_TYPE={types[0]} if that type is intended; else " if types and types[0] in _TYPES else ""
    )
    return (
        f"{choose}stop its consumers, empty it, delete it and run snapshot-backup topology declare; "
        "or set another SNAPSHOT_QUEUE"
    )


def _exclusive(queue: Queue, text: str) -> Finding:
    remedy = "end the program that holds it, or set another SNAPSHOT_QUEUE"
    return Finding("broker", f"queue {queue.name}", "bad", text, remedy)


def _declared(missing: Sequence[str], mismatches: Mapping[str, _Mismatch]) -> Finding:
    if missing:
        text = f"missing: {', '.join(dict.fromkeys(missing))}"
        remedy = (
            "a worker declares everything at start and every 30 s; or run snapshot-backup topology declare"
        )
        return Finding("broker", "topology", "warning", text, remedy)
    if mismatches:
        return Finding(
            "broker", "topology", "bad", "declared with other arguments; no worker starts on it", "see above"
        )
    return Finding("broker", "topology", "ok", "all exchanges and queues exist, with the right arguments")


async def _exchange_differs(connection: BrokerConnection, exchange: Exchange) -> list[Difference]:
    wanted: dict[str, Any] = {"exchange": exchange.name, "exchange_type": exchange.type, "durable": True}
    one = _difference(await ask(connection, "exchange_declare", **wanted))
    return [one] if one else []


async def _differences(connection: BrokerConnection, queue: Queue) -> list[Difference]:
    """Return all differences of a queue; the broker names one difference per declaration.

    Only the first declaration could create the queue, as intended; the others have an invalid argument.
    """
    found: list[Difference] = []
    arguments = dict(queue.arguments)
    flags = {"durable": True}
    while len(found) < _MOST_DIFFERENCES:
        answer = await ask(connection, "queue_declare", queue=queue.name, arguments=arguments, **flags)
        one = _difference(answer)
        if one is None or one.argument in INVALID_QUEUE or one in found:
            break
        found.append(one)
        if one.argument in _FLAGS:
            flags[one.argument] = one.found == "true"
        else:
            arguments = _adopt(arguments, one)
        arguments |= INVALID_QUEUE
    return found


def _adopt(arguments: dict[str, Any], one: Difference) -> dict[str, Any]:
    rest = {name: value for name, value in arguments.items() if name != one.argument}
    if one.found == "none":
        return rest
    value: object = int(one.found) if one.found.isdecimal() else one.found
    return rest | {one.argument: value}


def _difference(answer: object) -> Difference | None:
    return difference(str(answer)) if refused(answer, PRECONDITION_FAILED) else None
