"""Conformance cases as data: messages, faults and expected outcomes for every way to run the program."""

import base64
import gzip
import json
import re
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from events.message import Message, State, wrap
from events.state_keys import StateKeys
from tests.conformance.answers import ANSWERS, FOREIGN
from tests.twins.events import PROJECT, SOURCE
from tests.unit.events.forms import COMPLETED, REQUESTED
from tests.unit.events.forms import FOREIGN as NOT_FOR_US

DATA = Path(__file__).parents[1] / "data" / "events"
LONG_AGO = 1_600_000_000.0
MAX_ATTEMPTS = 3
FORGERS_KEYS = StateKeys("q", (b"the key of a producer",))
FORGED_BACKUP = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"

MADE = ("backup.accepted", "backup.completed")

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(r"(?<![0-9a-f-])[0-9a-f]{32}(?![0-9a-f-])")


def failed(category: str) -> str:
    """Return how the outcome of a failure of this category is written in a case."""
    return f"backup.failed {category}"


@dataclass(frozen=True)
class Case:
    """One case: messages, faults of the API, and the expected outcomes.

    ``faults`` are those of the emulator, for this case's project only. ``expected`` has the distinct outcomes
    as type and category, and ``dead`` the categories of the dead letters, each at least once. With a
    ``state`` the messages have been delayed before, and the runner of the case signs them. A message that is
    ``queue_only`` is handled otherwise in a call of the function, which takes batches apart.
    """

    name: str
    messages: Sequence[Message]
    expected: Sequence[str] = MADE
    backups: int = 1
    faults: Sequence[Mapping[str, Any]] = ()
    snapshots: Sequence[Mapping[str, Any]] = ()
    dead: Sequence[str] = field(default=())
    state: State | None = None
    queue_only: bool = False

    def as_published(self, keys: StateKeys) -> Sequence[Message]:
        """Return the messages as they are published; those that have been delayed have a signed state."""
        if self.state is None:
            return self.messages
        return [_wrapped(self.name, each, self.state, keys) for each in self.messages]


def own_id(case: str, what: str) -> str:
    """Return an id that no other case uses."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{case} {what}"))


def project(case: str) -> str:
    """Return the project of a case."""
    return own_id(case, "project").replace("-", "")


def sample(case: str, form: str) -> Message:
    """Return a sample of a form with ids that no other case uses."""
    text = (DATA / f"{form}.json").read_text()
    text = _UUID.sub(lambda found: own_id(case, found[0]), text)
    return Message(_HEX.sub(lambda _: project(case), text).encode(), "application/json")


def data(case: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the ``data`` of an event of the case."""
    return {
        "project_id": project(case),
        "volume_id": own_id(case, f"volume {number}"),
        "snapshot_id": own_id(case, f"snapshot {number}"),
        **fields,
    }


def event(case: str, number: int = 0, *, event_id: str | None = None, **fields: Any) -> Message:
    """Return an event of the case as a CloudEvent."""
    value = {
        "specversion": "1.0",
        "id": event_id or own_id(case, f"event {number}"),
        "source": SOURCE,
        "type": "snapshot.completed",
        "data": data(case, number, **fields),
    }
    return Message(json.dumps(value).encode(), "application/cloudevents+json")


def trace(case: str, status: str) -> Case:
    """Return a case with a trace of a snapshot in this status, in the default project: traces name none."""
    text = json.loads(sample(case, "cts-trace").body)
    snapshot = {
        "id": text["resource_id"],
        "project_id": PROJECT,
        "volume_id": json.loads(text["request"])["snapshot"]["volume_id"],
        "status": status,
    }
    return Case(
        case,
        [sample(case, "cts-trace")],
        [failed("refused")],
        backups=0,
        snapshots=[snapshot],
        dead=["refused"],
    )


def skipped_as_shown(case: str, **shown: object) -> Case:
    """Return a case with a trace without a name, whose snapshot the API shows with this name or metadata."""
    text = json.loads(sample(case, "cts-trace").body)
    volume_id = json.loads(text["request"])["snapshot"]["volume_id"]
    ids = {"id": text["resource_id"], "project_id": PROJECT, "volume_id": volume_id}
    snapshot = {**ids, "status": "available", **shown}
    nameless = Message(json.dumps({**text, "resource_name": None}).encode(), "application/json")
    return Case(case, [nameless], ["backup.skipped"], backups=0, snapshots=[snapshot])


def _waited(**state: Any) -> State:
    return State(**{"first_seen": 1_700_000_000.0, **state})


def _wrapped(case: str, message: Message, state: State, keys: StateKeys) -> Message:
    body = wrap(message, state, event_id=own_id(case, "event 0"), keys=keys)
    return Message(body, "application/cloudevents+json")


def _status(status: int, message: str = "no", **fault: Any) -> dict[str, Any]:
    body = {"fault": {"code": status, "message": message}}
    return {"route": "create", "effect": "status", "status": status, "body": body, **fault}


def _once(status: int, message: str = "no", **fault: Any) -> list[dict[str, Any]]:
    return [_status(status, message, times=1, **fault)]


def _refused(name: str, category: str, fault: Mapping[str, Any]) -> Case:
    return Case(name, [event(name)], [failed(category)], backups=0, faults=[fault], dead=[category])


def _recovers(name: str, faults: Sequence[Mapping[str, Any]]) -> Case:
    return Case(name, [event(name)], faults=faults)


def _bad(name: str, body: bytes, category: str = "malformed", **headers: Any) -> Case:
    message = Message(body, None, headers)
    return Case(name, [message], [failed(category)], backups=0, dead=[category])


def _forged(case: str, number: int = 0, **attributes: Any) -> Message:
    """Return a delayed message that a producer forged and signed with its own key."""
    value = json.loads(_wrapped(case, event(case, number), _waited(), FORGERS_KEYS).body)
    return Message(json.dumps({**value, **attributes}).encode())


def _forgery(name: str, **attributes: Any) -> Case:
    """Return a case with a genuine event before and after a forged delayed message for its snapshot."""
    return Case(name, [event(name), _forged(name, **attributes), event(name)])


def _forged_alone(name: str, **attributes: Any) -> Case:
    return Case(name, [_forged(name, **attributes)])


def _nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def _absent(what: str) -> dict[str, Any]:
    return {"itemNotFound": {"code": 404, "message": f"{what} could not be found."}}


def _item_not_found(**fault: Any) -> dict[str, Any]:
    return {"route": "create", "effect": "status", "status": 404, "body": _absent("Snapshot"), **fault}


def _binary(case: str) -> Message:
    attributes = {"specversion": "1.0", "id": own_id(case, "event 0"), "source": SOURCE}
    headers = {
        f"cloudEvents:{key}": value for key, value in {**attributes, "type": "snapshot.completed"}.items()
    }
    return Message(json.dumps(data(case)).encode(), "application/json", headers)


def _encoded(name: str, encode: Callable[[bytes], bytes], **parts: Any) -> Case:
    """Return a case with an event whose body is encoded."""
    return Case(name, [Message(encode(event(name).body), "application/cloudevents+json", **parts)])


def _headed(name: str, type_: str, spell: Callable[[str], str]) -> Message:
    """Return a bare object with the attributes of a CloudEvent in headers that are spelled otherwise."""
    attributes = {"specversion": "1.0", "id": own_id(name, "event 0"), "source": SOURCE, "type": type_}
    headers = {spell(key): value for key, value in attributes.items()}
    return Message(json.dumps(data(name)).encode(), "application/json", headers)


def _other(name: str, message: Message) -> Case:
    """Return a case with a message that is another event than ours, or not readable."""
    return Case(name, [message], [failed("malformed")], backups=0, dead=["malformed"])


def _beside(name: str, fields: Mapping[str, Any], **parts: Any) -> Case:
    """Return a case with a bare object, and what names another type beside it."""
    return _other(name, Message(json.dumps(data(name, **fields)).encode(), "application/json", **parts))


def _must_be(status: str) -> str:
    return f'Invalid snapshot: must be available, but the current status is "{status}".'


def _raw(template: str, **fault: Any) -> list[dict[str, Any]]:
    return [{"route": "create", "effect": "raw", "body": template, "times": 1, **fault}]


def _drop(effect: str, **fault: Any) -> list[dict[str, Any]]:
    return [{"route": "create", "effect": effect, "times": 1, **fault}]


FORMS = [
    *(Case(f"form {form}", [sample(f"form {form}", form)]) for form in COMPLETED),
    *(Case(f"form {form}", [sample(f"form {form}", form)]) for form in REQUESTED),
    *(Case(f"form {form}", [sample(f"form {form}", form)], [], backups=0) for form in NOT_FOR_US),
    Case(
        "form foreign-type",
        [sample("form foreign-type", "foreign-type")],
        [failed("malformed")],
        backups=0,
        dead=["malformed"],
    ),
    Case("form cloudevents in headers", [_binary("form cloudevents in headers")]),
    Case(
        "form several events in one message",
        [sample("form several events in one message", "rabbitmq-several")],
        [failed("malformed")],
        backups=0,
        dead=["malformed"],
    ),
    trace("trace of a snapshot in error", "error"),
    trace("trace of a snapshot that is being deleted", "deleting"),
]

ENCODED = [
    _encoded("gzip", gzip.compress, properties={"content_encoding": "gzip"}),
    _encoded("gzip without a label", gzip.compress),
    _encoded("gzip by Spring", gzip.compress, properties={"content_encoding": "gzip:UTF-8"}),
    _encoded("gzip by a header", gzip.compress, headers={"Content-Encoding": "gzip"}),
    _encoded("zlib by kombu", zlib.compress, headers={"compression": "application/x-gzip"}),
    _encoded("base64", base64.b64encode, properties={"content_encoding": "base64"}),
    _encoded("UTF-16", lambda body: body.decode().encode("utf-16")),
    _encoded("a mark", lambda body: b"\xef\xbb\xbf" + body),
    _encoded("labelled utf-8", bytes, properties={"content_encoding": "utf-8"}),
    _encoded("labelled binary", bytes, properties={"content_encoding": "binary"}),
    _other("a bomb", Message(gzip.compress(b" " * 10_000_000), properties={"content_encoding": "gzip"})),
    _other("truncated gzip", Message(gzip.compress(event("truncated gzip").body)[:-4])),
    _other("brotli", Message(b"\x0b\x02\x80{}\x03", properties={"content_encoding": "br"})),
]

NAMED = [
    Case("Ce-Type", [_headed("Ce-Type", "snapshot.completed", lambda key: f"Ce-{key.title()}")]),
    Case("CE_TYPE", [_headed("CE_TYPE", "snapshot.completed", lambda key: f"CE_{key.upper()}")]),
    _other(
        "Ce-Type: deleted", _headed("Ce-Type: deleted", "snapshot.deleted", lambda key: f"Ce-{key.title()}")
    ),
    _other("ce_type: deleted", _headed("ce_type: deleted", "snapshot.deleted", lambda key: f"ce_{key}")),
    _other(
        "cloudEvents: deleted", _headed("cloudEvents: deleted", "snapshot.deleted", "CloudEvents:{}".format)
    ),
    *(
        _beside(f"a bare object with {name}", {name: "snapshot.deleted"})
        for name in ("type", "event", "event_type", "eventType", "detail-type", "action", "message_type")
    ),
    _beside("a header event_type", {}, headers={"event_type": "snapshot.deleted"}),
    _beside("the property type", {}, properties={"type": "snapshot.deleted"}),
    _other(
        "two snapshots in one event",
        Message(
            event("two snapshots in one event").body.replace(
                b'"snapshot_id"', b'"snapshot_id": "x", "snapshot_id"'
            )
        ),
    ),
    *(
        replace(
            _other(name, Message(b"[" + b",".join([event(name).body] * count) + b"]", content_type)),
            queue_only=True,
        )
        for name, count, content_type in (
            ("a batch", 3, "application/cloudevents-batch+json"),
            ("a batch of one", 1, "application/json"),
        )
    ),
]

REFUSALS = [
    _refused("400 refused", "refused", _status(400, "Invalid volume: not allowed")),
    _refused("400 breaks a rule", "invalid", _status(400, "Invalid input for field/attribute name")),
    _refused("400 wrong status", "refused", _status(400, _must_be("error"))),
    _refused("403", "denied", _status(403)),
    _refused("404 of the API", "not_found", _item_not_found()),
    _refused("405", "refused", _status(405)),
    _refused("413 quota", "quota", _status(413, "BackupLimitExceeded: 10", headers={"Retry-After": "0"})),
    _refused("415", "refused", _status(415)),
    _refused("501", "refused", _status(501)),
    _refused("409 until attempts run out", "conflict", _status(409)),
    _refused("creating until attempts run out", "conflict", _status(400, _must_be("creating"))),
]

WAITS = [
    _recovers("409 once", _once(409)),
    _recovers("creating once", _once(400, _must_be("creating"))),
    _recovers("backing-up once", _once(400, _must_be("backing-up"))),
    _recovers("429 once", _once(429, headers={"Retry-After": "1"})),
    _recovers("429 without a time", _once(429)),
    _recovers("413 throttled", [_status(413, "", times=1, headers={"Retry-After": "1"})]),
    _recovers("401 once", _once(401)),
    _recovers("503 once", _once(503)),
    _recovers("503 twice", [_status(503, times=2)]),
    _recovers("404 of a gateway", [_status(404, times=1, body="<html>")]),
    _recovers("302", _once(302)),
    _recovers("404 of the API once", [_item_not_found(times=1)]),
]

ON_THE_WAY = [
    _recovers(f"{status} of {who}", [_status(status, times=1, body=body)])
    for status, who, body in (
        (200, "a captive portal", '<html><form action="/login"></form></html>'),
        (400, "a TLS port", "<html><h1>400</h1>The plain HTTP request was sent to HTTPS port</html>"),
        (
            400,
            "Huawei's gateway",
            {"error_code": "APIGW.0201", "error_msg": "Bad request", "request_id": "r"},
        ),
        (403, "Huawei's gateway", {"error_code": "APIGW.0302", "error_msg": "no", "request_id": "r"}),
        (403, "AWS", {"message": "Forbidden"}),
        (403, "Istio", "RBAC: access denied"),
        (404, "Kubernetes ingress", "default backend - 404"),
        (404, "Kong", {"message": "no Route matched with those values"}),
        (404, "APISIX", {"error_msg": "404 Route Not Found"}),
        (405, "Spring", {"timestamp": "t", "status": 405, "error": "e", "message": "m", "path": "/v2"}),
        (409, "gRPC", {"code": 10, "message": "aborted", "details": []}),
        (413, "WSO2", {"fault": {"code": 900900, "message": "m", "description": "d"}}),
    )
]

DOUBTS = [
    _recovers("500 once", _once(500)),
    _recovers("502 of a proxy", [_status(502, times=1, body="<html>")]),
    _recovers("504", _once(504)),
    _recovers("408", _once(408)),
    _recovers("cut before the work", _drop("drop_before")),
    _recovers("cut after the work", _drop("drop_after")),
    _recovers("202 with half a body", _drop("garbage")),
    _recovers("committed late", _drop("late_commit", seconds=1.0)),
    _recovers(
        "cut after, and a lookup that fails",
        [*_drop("drop_after"), {"route": "list", "effect": "status", "status": 503, "times": 1}],
    ),
]

BAD = [
    _bad("bad: not JSON", b"{no json"),
    _bad("bad: empty", b""),
    _bad("bad: a list", b'["a list"]'),
    _bad("bad: not UTF-8", b"\xff\xfe\xfd"),
    _bad("bad: nested deeply", b'{"deep":' * 500 + b"1" + b"}" * 500),
    _bad("bad: too large", b'{"large": "' + b"x" * 70_000 + b'"}'),
    _bad("bad: unknown form", b'{"hello": "world"}'),
    _bad("bad: unknown version", b'{"specversion": "9.9", "id": "v", "source": "s", "type": "t"}'),
    _bad("bad: unknown type", b'{"specversion": "1.0", "id": "t", "source": "s", "type": "t"}'),
    _bad(
        "bad: damaged wait", b'{"specversion":"1.0","type":"snapshot-backup.waiting","id":"w","source":"s"}'
    ),
    _bad("bad: nested headers", event("bad: nested headers").body, deep=_nested(300)),
    _bad("bad: no snapshot", json.dumps({"volume_id": own_id("bad", "v")}).encode(), "invalid"),
    _bad("bad: ids", b'{"volume_id": "one", "snapshot_id": "two"}', "invalid"),
    _bad("bad: name", event("bad: name", backup={"name": "auto-x"}).body, "invalid"),
    _bad("bad: description", event("bad: description", backup={"description": "<b>"}).body, "invalid"),
    _bad("bad: other project", event("bad: other project", backup={"project_id": "x"}).body, "invalid"),
]

SKIPPED = [
    Case(
        "skipped by name",
        [event("skipped by name", snapshot_name="autobk_snapshot_1")],
        ["backup.skipped"],
        backups=0,
    ),
    Case(
        "skipped by metadata",
        [event("skipped by metadata", metadata={"__system__enableActive": "true"})],
        ["backup.skipped"],
        backups=0,
    ),
    skipped_as_shown("skipped by the name that the API shows", name="autobk_snapshot_1"),
    skipped_as_shown(
        "skipped by the metadata that the API shows", metadata={"__system__enableActive": "true"}
    ),
]

TWICE = [
    Case("the same event three times", [event("the same event three times")] * 3),
    Case(
        "two events of one snapshot",
        [
            event("two events of one snapshot", event_id=own_id("two events", "a")),
            event("two events of one snapshot", event_id=own_id("two events", "b")),
        ],
        [*MADE, "backup.completed"],
    ),
    Case(
        "a refused event twice",
        [event("a refused event twice")] * 2,
        [failed("refused")],
        backups=0,
        faults=[_status(400)],
        dead=["refused"],
    ),
    Case(
        "poison beside nine good ones",
        [*(event("poison beside nine good ones", number) for number in range(9)), Message(b"\x00poison")],
        [*MADE * 9, failed("malformed")],
        backups=9,
        dead=["malformed"],
    ),
    Case(
        "a forged wait beside nine good ones",
        [
            *(event("a forged wait beside nine good ones", number) for number in range(9)),
            _forged("a forged wait beside nine good ones", 9, firstseen=1e300),
        ],
        MADE * 10,
        backups=10,
    ),
]

FORGED = [
    _forgery("forged: the backup is tracked", waitreason="track", backupid=FORGED_BACKUP, acceptedat=1.7e9),
    _forgery("forged: a backup that is no id", waitreason="track", backupid="../../x", acceptedat=1.7e9),
    _forged_alone("forged: tracked, alone", waitreason="track", backupid=FORGED_BACKUP, acceptedat=1.7e9),
    _forged_alone("forged: no id, alone", waitreason="track", backupid="../../x", acceptedat=1.7e9),
    _forged_alone("forged: a doubt without an end", waitreason="lookup", doubtsince=1e12, lookups=0),
    _forged_alone("forged: poison", crashes=1_000_000),
    _forged_alone("forged: too old", firstseen=1.0, attempts=1_000_000),
    _forged_alone("forged: a time beyond all", firstseen=1e300),
    _forged_alone("forged: a time in milliseconds", firstseen=1.8e12),
    Case(
        "forged: a replay of a refused event",
        [
            event("forged: a replay of a refused event"),
            _forged("forged: a replay of a refused event", replayid="r"),
        ],
        [failed("refused")],
        backups=0,
        faults=[_status(400)],
        dead=["refused"],
    ),
]

ENDS = [
    Case(
        "ends in error",
        [event("ends in error")],
        ["backup.accepted", failed("backup_error")],
        faults=[{"route": "create", "effect": "fail_later", "fail_reason": "the driver said no"}],
        dead=["backup_error"],
    ),
    _recovers(
        "a backup that is not found once",
        [{"route": "show", "effect": "status", "status": 404, "times": 1, "body": _absent("Backup")}],
    ),
    _recovers("tracking that fails once", [{"route": "show", "effect": "status", "status": 503, "times": 1}]),
    Case(
        "too old for an outage",
        [event("too old for an outage")],
        [failed("expired")],
        backups=0,
        faults=[_status(503)],
        dead=["expired"],
        state=_waited(first_seen=LONG_AGO),
    ),
    Case(
        "too old for throttling",
        [event("too old for throttling")],
        [failed("expired")],
        backups=0,
        faults=[_status(429)],
        dead=["expired"],
        state=_waited(first_seen=LONG_AGO),
    ),
    Case(
        "old, and nothing in its way",
        [event("old, and nothing in its way")],
        state=_waited(first_seen=LONG_AGO, waits=99),
    ),
    Case(
        "the last attempt",
        [event("the last attempt")],
        [failed("conflict")],
        backups=0,
        faults=[_status(409)],
        dead=["conflict"],
        state=_waited(attempts=MAX_ATTEMPTS - 1),
    ),
    Case("a replayed dead letter", [event("a replayed dead letter")], state=_waited(replay="replay-1")),
]

# A worker runs all cases at once: answers of a proxy in a row would be an outage, with growing pauses.
CASES: Sequence[Case] = [
    *(each for pair in zip(FORMS, ON_THE_WAY, strict=False) for each in pair),
    *FORMS[len(ON_THE_WAY) :],
    *ENCODED,
    *NAMED,
    *REFUSALS,
    *WAITS,
    *DOUBTS,
    *BAD,
    *SKIPPED,
    *TWICE,
    *FORGED,
    *ENDS,
]

_SURPLUS = f"HTTP/1.1 202 Accepted\r\nContent-Length: {len(FOREIGN)}\r\n\r\n{FOREIGN}"
_UNASKED = "answers without a request"
_UNREADABLE = "refused tokens in answers that cannot be read"

ANSWER_CASES: Sequence[Case] = [
    _recovers(f"answer: {answer.name}", _raw(answer.template)) for answer in ANSWERS
]
"""Answers as real servers and proxies send them, after the work."""

UNASKED = Case(
    _UNASKED,
    [event(_UNASKED, number) for number in range(6)],
    MADE * 6,
    backups=6,
    faults=_raw(ANSWERS[0].template + _SURPLUS, times=3, seconds=10),
)
"""The answer for another backup follows an answer, on a connection that stays open."""

UNREADABLE_REFUSALS = Case(
    _UNREADABLE,
    [event(_UNREADABLE, number) for number in range(12)],
    MADE * 12,
    backups=12,
    faults=[_status(401, times=6, headers={"Content-Encoding": "gzip"}), *_once(401, "x" * 2_000_000)],
)
"""The sign-in reads these answers, which are more than the connections of a small pool."""
