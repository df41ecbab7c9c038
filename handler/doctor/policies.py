"""Checks of the broker's policies, which AMQP does not show: asked of its management API.

A policy acts on a queue beside the queue's own arguments: of two limits the lower one holds, ``overflow`` of
a policy goes before ours, and our dead-letter exchange before that of a policy (tried on 3.10.8).
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from handler.broker.connection import Tls
from handler.broker.topology import DELIVERY_LIMIT, Queue, Topology
from handler.causes import Setting, explain
from handler.doctor.findings import Finding, State
from handler.settings import Settings

_SETTING = Setting("AMQP_MANAGEMENT_URL", "AMQP_CA_FILE")
_TIMEOUT = 10.0
_TRIES = 15
_UNSEEN = (
    "not checked: AMQP does not show them, and a policy can delete queues or drop messages (message-ttl, "
    "expires, max-length, overflow, delivery-limit). Set AMQP_MANAGEMENT_URL to have them checked"
)


class _Effect(NamedTuple):
    """What one key of a policy does to one of our queues."""

    state: State
    text: str


class _Policies(NamedTuple):
    """The policies of one queue, by name, and what they set together."""

    policy: str | None
    operator_policy: str | None
    definition: Mapping[str, Any]


async def examine_policies(settings: Settings, topology: Topology, vhost: str) -> AsyncIterator[Finding]:
    """Yield a finding for each policy that can lose, block or misdirect messages of our queues."""
    if settings.amqp_management_url is None:
        yield Finding("broker", "policies", "ok", _UNSEEN)
        return
    found = False
    try:
        async with _client(settings) as client:
            shown = await _shown(client, topology, vhost)
    except (httpx.HTTPError, ValueError) as error:
        text, remedy = explain(_SETTING, str(error))
        yield Finding("broker", "policies", "warning", f"not checked: {text}", remedy)
        return
    for queue in topology.queues():
        if queue.name in shown:
            for finding in _findings(shown[queue.name], queue, topology, vhost):
                found = True
                yield finding
    if unknown := [name for name, policies in shown.items() if policies is None]:
        text = f"the management API does not show them yet for {', '.join(unknown)}"
        yield Finding("broker", "policies", "warning", text, "run doctor again in a minute")
    elif not found:
        yield Finding("broker", "policies", "ok", "none that could lose messages acts on our queues")


def _client(settings: Settings) -> httpx.AsyncClient:
    secret = settings.amqp_management_url
    url = urlsplit(secret.get_secret_value() if secret else "")
    host = url.netloc.rpartition("@")[2]
    login = (httpx.URL(url.geturl()).username or "guest", httpx.URL(url.geturl()).password or "guest")
    verify: ssl.SSLContext | bool = Tls(settings.amqp_ca_file).context() if url.scheme == "https" else True
    base = f"{url.scheme}://{host}{url.path.rstrip('/')}"
    # No proxy: the program reaches RabbitMQ directly.
    return httpx.AsyncClient(base_url=base, auth=login, verify=verify, timeout=_TIMEOUT, trust_env=False)


async def _shown(client: httpx.AsyncClient, topology: Topology, vhost: str) -> Mapping[str, _Policies | None]:
    """Return the policies of the queues that exist; None where the API does not know them for long enough.

    It shows those of a new queue only after some seconds. Raises ``ValueError``.
    """
    shown: dict[str, _Policies | None] = {}
    names = [queue.name for queue in topology.queues()]
    for _ in range(_TRIES):
        for name in names:
            shown.update(await _policies(client, vhost, name))
        names = [name for name, policies in shown.items() if policies is None]
        if not names:
            break
        await asyncio.sleep(1.0)
    return shown


async def _policies(client: httpx.AsyncClient, vhost: str, queue: str) -> Mapping[str, _Policies | None]:
    """Ask for the policies of a queue, which may not exist. Raises ``ValueError``."""
    answer = await client.get(f"/api/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}")
    if answer.status_code == HTTPStatus.NOT_FOUND and "Object Not Found" in answer.text:
        return {}
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise ValueError(
            "Login was refused; the user needs the tag monitoring, and access to the virtual host"
        )
    if answer.status_code != HTTPStatus.OK:
        raise ValueError(f"the management API answers {answer.status_code}")
    try:
        document = json.loads(answer.text)
        if "effective_policy_definition" not in document:
            return {str(document["name"]): None}
        definition = document["effective_policy_definition"] or {}
        policies = _Policies(document.get("policy"), document.get("operator_policy"), dict(definition))
        return {str(document["name"]): policies}
    except (KeyError, TypeError, ValueError):
        raise ValueError("the answer is not one of RabbitMQ's management API") from None


def _findings(policies: _Policies | None, queue: Queue, topology: Topology, vhost: str) -> Iterator[Finding]:
    """Yield a finding for a queue whose policies do harm, with all that they do."""
    effects = list(effects_of(policies.definition, queue, topology)) if policies else []
    if policies is None or not effects:
        return
    state: State = "bad" if any(each.state == "bad" for each in effects) else "warning"
    names = [
        f"{kind} {name}"
        for kind, name in (("policy", policies.policy), ("operator policy", policies.operator_policy))
        if name
    ]
    text = f"{' and '.join(names) or 'a policy'}: {'; '.join(each.text for each in effects)}"
    yield Finding("broker", f"queue {queue.name}", state, text, _remedy(policies, topology, vhost))


def _remedy(policies: _Policies, topology: Topology, vhost: str) -> str:
    pattern = topology.queue.replace(".", r"\.")
    remedy = (
        f"exempt our queues by a policy of higher priority: rabbitmqctl set_policy -p {vhost} --priority 100 "
        f"--apply-to queues snapshot-backup '^{pattern}(\\.|$)' '{{\"overflow\":\"reject-publish\"}}'"
    )
    if policies.operator_policy:
        return (
            f"change the pattern of the operator policy {policies.operator_policy} so that it does not "
            f"match ^{pattern}: no other policy goes before it"
        )
    return remedy


def effects_of(definition: Mapping[str, Any], queue: Queue, topology: Topology) -> Iterator[_Effect]:
    """Yield what a policy's definition does to one of our queues, as far as it does harm."""
    overflow = definition.get("overflow")
    main, dead = queue.name == topology.queue, queue.name == topology.dead
    for key, value in definition.items():
        match key:
            case "message-ttl":
                yield from _ttl(float(value) / 1000, queue, main=main, dead=dead)
            case "expires":
                yield _expires(float(value) / 1000, main=main, dead=dead)
            case "max-length" | "max-length-bytes":
                yield _full(key, value, drops=overflow != "reject-publish" and (dead or overflow is not None))
            case "delivery-limit" if (main and value < DELIVERY_LIMIT) or dead:
                yield _limit(value, dead=dead)
            case "dead-letter-exchange" if dead:
                yield _Effect("warning", f"{key} {value}: what the broker removes from it goes there")
    if queue.quorum and not dead and overflow not in (None, "reject-publish"):
        yield _Effect("bad", f"overflow {overflow}: waiting messages can be lost when the broker is killed")


def _ttl(seconds: float, queue: Queue, *, main: bool, dead: bool) -> Iterator[_Effect]:
    what = f"message-ttl {seconds:g} s"
    if dead:
        yield _Effect("bad", f"{what}: the broker drops dead letters that are older")
    elif main:
        text = f"{what}: events that stand in the queue for longer are dead-lettered without an outcome"
        yield _Effect("bad", text)
    elif seconds * 1000 < queue.arguments.get("x-message-ttl", 0):
        yield _Effect("warning", f"{what}: messages come back earlier than planned")


def _expires(seconds: float, *, main: bool, dead: bool) -> _Effect:
    what = f"expires {seconds:g} s"
    if main:
        return _Effect("bad", f"{what}: where no worker consumes for so long, all events in it are deleted")
    held = "dead letters" if dead else "messages"
    return _Effect("bad", f"{what}: while no worker runs, the broker deletes it with the {held} in it")


def _full(key: str, value: object, *, drops: bool) -> _Effect:
    if drops:
        return _Effect("bad", f"{key} {value}: when it is full, the broker drops messages from it")
    return _Effect("bad", f"{key} {value}: when it is full, the broker refuses messages, and handling stops")


def _limit(value: object, *, dead: bool) -> _Effect:
    if dead:
        return _Effect("bad", f"delivery-limit {value}: dead letters that were read more often are dropped")
    text = "after so many lost connections an event is dead-lettered without an outcome"
    return _Effect("bad", f"delivery-limit {value}: {text}")
