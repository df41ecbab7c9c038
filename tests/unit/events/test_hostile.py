"""Unit tests of hostile input: decoding returns an event or raises a documented error, in bounded time."""

import ast
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import events
from events.decode import decode, parse_message, unpack
from events.errors import CODES, EventError
from events.message import Message, State, wrap
from events.snapshot import ForeignEvent, SnapshotEvent
from tests.unit.events.forms import (
    COMPLETED,
    FOREIGN,
    LIMIT,
    REQUESTED,
    SNAPSHOT,
    load,
    notifications,
    read_snapshot,
    refusal,
    refusal_of,
)

SEED = 20260304
CLOUDEVENT = load("cloudevents")


def check(message: Message) -> None:
    """Decode a message; fail unless the result is an event or a documented error."""
    original, state, _ = parse_message(message, now=1.0)
    assert state.first_seen > 0
    try:
        event = decode(original, max_bytes=LIMIT)
    except EventError as error:
        problem = error
    else:
        assert isinstance(event, SnapshotEvent | ForeignEvent)
        return
    assert problem.code in CODES
    assert problem.ids.event_id
    assert len(problem.message) < 2048
    assert str(problem).encode()


def with_data(**changes: object) -> dict[str, Any]:
    """Return the sample CloudEvent with other values in its data."""
    return {**CLOUDEVENT, "data": {**CLOUDEVENT["data"], **changes}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"snapshot completed", "not_json"),
        (b'{"a": 1} {"b": 2}', "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": -Infinity}', "not_json"),
        (b'{"a": "\\ud800"}', "not_json"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "not_json"),
        (b'{"a": "\xff"}', "not_utf8"),
        ('{"a": "ü"}'.encode("latin-1"), "not_utf8"),
        (b'{"a": 1,}', "not_json"),
        (b'{"a": 1} trailing', "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": {"b": [{"c": 1, "d": "\\": x", "c": 2}]}}', "duplicate_key"),
        (b'{"a" :1, "a" :2}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
        ("{}".encode("utf-16"), "unknown_form"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        (b"\x1f\x8b\x08\x00", "bad_encoding"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b"[]", "not_object"),
        (b"[1, 2]", "not_object"),
        (b"[{}]", "several_events"),
        (b'"text"', "not_object"),
        (b"null", "not_object"),
        (b"{}", "unknown_form"),
        (b'{"hello": "world"}', "unknown_form"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_malformed_body_has_its_code(body: bytes, code: str) -> None:
    """Each kind of malformed body is refused with its code and an id derived from the bytes."""
    error = refusal(body)

    assert ("malformed", code, Message(body).derived_id) == (error.category, error.code, error.ids.event_id)


def test_a_body_of_16_mib_is_refused_before_it_is_parsed() -> None:
    """A body above the limit that is not JSON either is refused as too large, not as malformed JSON."""
    assert "too_large" == refusal(b"x" * 16 * 1024 * 1024).code


def test_a_body_of_exactly_the_limit_is_allowed() -> None:
    """A body of MAX_BODY_BYTES is decoded; one byte more is refused."""
    body = json.dumps(CLOUDEVENT).encode()

    assert isinstance(decode(Message(body), max_bytes=len(body)), SnapshotEvent)
    assert "too_large" == refusal(body, max_bytes=len(body) - 1).code


def _with_the_snapshot_twice(name: str, other: str) -> bytes:
    quote = '\\"' if name == "cinder-wrapped" else '"'
    member = f"{quote}snapshot_id{quote}: {quote}{{}}{quote}"
    body = json.dumps(load(name))
    assert member.format(SNAPSHOT) in body
    return body.replace(
        member.format(SNAPSHOT), f"{member.format(other)}, {member.format(SNAPSHOT)}"
    ).encode()


@pytest.mark.parametrize("name", ["cloudevents", "data", "cinder-bare", "cinder-wrapped"])
def test_an_event_that_names_two_snapshots_is_refused(name: str) -> None:
    """An event is refused if one key has two values, since readers differ in which of them they take."""
    error = refusal(_with_the_snapshot_twice(name, "x"))

    assert ("malformed", "duplicate_key") == (error.category, error.code)
    assert "'snapshot_id'" in error.message


@pytest.mark.parametrize("name", ["cloudevents", "data", "cinder-bare", "cinder-wrapped"])
def test_a_key_may_be_repeated_with_the_same_value(name: str) -> None:
    """An event that has a key twice with one value is read, since every reader takes the same."""
    event = decode(Message(_with_the_snapshot_twice(name, SNAPSHOT)), max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    assert SNAPSHOT == event.snapshot.snapshot_id


@pytest.mark.parametrize("shape", [b'{"a":[%s1]}', b'{"a":1,"a":2,%s"z":0}'])
def test_the_search_for_repeated_keys_is_quick(shape: bytes) -> None:
    """A megabyte of objects and of keys is searched well within pytest's time limit."""
    body = shape % b"".join(b'{"k%d" :0},' % n if b"[" in shape else b'"k%d":0,' % n for n in range(70_000))

    assert refusal(body).code in {"unknown_form", "duplicate_key", "too_large"}


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"volume_id": None}, "bad_field", "volume_id"),
        ({"volume_id": 7}, "bad_field", "volume_id"),
        ({"volume_id": "not-a-uuid"}, "bad_field", "volume_id"),
        ({"volume_id": "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40\n"}, "bad_field", "volume_id"),
        ({"snapshot_id": "../../x"}, "bad_field", "snapshot_id"),
        ({"snapshot_id": 10**4000}, "bad_field", "snapshot_id"),
        ({"snapshot_id": ["b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"]}, "bad_field", "snapshot_id"),
        ({"project_id": "../../x"}, "bad_field", "project_id"),
        ({"project_id": "p?x=1"}, "bad_field", "project_id"),
        ({"project_id": "p\n"}, "bad_field", "project_id"),
        ({"project_id": ""}, "bad_field", "project_id"),
        ({"project_id": "p" * 65}, "bad_field", "project_id"),
        ({"snapshot_name": 7}, "bad_field", "snapshot_name"),
        ({"snapshot_name": "n" * 1025}, "bad_field", "snapshot_name"),
        ({"size_gb": "40"}, "bad_field", "size_gb"),
        ({"size_gb": 40.5}, "bad_field", "size_gb"),
        ({"size_gb": True}, "bad_field", "size_gb"),
        ({"size_gb": -1}, "bad_field", "size_gb"),
        ({"size_gb": 10**30}, "bad_field", "size_gb"),
        ({"backup": []}, "bad_field", "backup"),
        ({"backup": {"name": "n" * 65}}, "bad_field", "backup.name"),
        ({"backup": {"name": "n" * 64 + "\n"}}, "bad_field", "backup.name"),
        ({"backup": {"name": ""}}, "bad_field", "backup.name"),
        ({"backup": {"name": "auto-nightly"}}, "bad_field", "backup.name"),
        ({"backup": {"name": "näme"}}, "bad_field", "backup.name"),
        ({"backup": {"name": "n\n"}}, "bad_field", "backup.name"),
        ({"backup": {"description": "a < b"}}, "bad_field", "backup.description"),
        ({"backup": {"description": "a > b"}}, "bad_field", "backup.description"),
        ({"backup": {"description": "line\n<b>"}}, "bad_field", "backup.description"),
        ({"backup": {"description": "d" * 256}}, "bad_field", "backup.description"),
        ({"backup": {"force": "true"}}, "bad_field", "backup.force"),
        ({"backup": {"incremental": 1}}, "bad_field", "backup.incremental"),
        ({"backup": {"project_id": "p/x"}}, "bad_field", "backup.project_id"),
        ({"backup": {"project_id": "p\n"}}, "bad_field", "backup.project_id"),
        ({"backup": {"volume_id": "other"}}, "bad_field", "backup.volume_id"),
    ],
)
def test_a_refusal_names_the_field_that_breaks_its_rule(
    changes: dict[str, Any], code: str, where: str
) -> None:
    """The event is refused as invalid, and the error's message names the field."""
    error = refusal_of(with_data(**changes))

    assert ("invalid", code, where) == (error.category, error.code, error.message.partition(":")[0])


@pytest.mark.parametrize("field", ["volume_id", "snapshot_id"])
def test_a_refusal_names_the_missing_id(field: str) -> None:
    """An event without its volume or snapshot id is refused, and the error names the field."""
    data = {key: value for key, value in CLOUDEVENT["data"].items() if key != field}
    error = refusal_of({**CLOUDEVENT, "data": data})

    assert ("invalid", "missing_field", field) == (
        error.category,
        error.code,
        error.message.partition(":")[0],
    )


def test_a_refusal_does_not_repeat_the_value() -> None:
    """The error's text does not contain the refused value, which may be secret."""
    assert "hunter2" not in str(refusal_of(with_data(project_id="hunter2!")))


@pytest.mark.parametrize(
    "spelling", ["B7D05A1E-4F26-4B7D-8C35-19E2A6C0D4F8", "b7d05a1e4f264b7d8c3519e2a6c0d4f8", SNAPSHOT]
)
def test_an_id_is_normalised_to_one_spelling(spelling: str) -> None:
    """All accepted spellings of a snapshot id give one id, as it is part of the idempotency key."""
    assert SNAPSHOT == read_snapshot(with_data(snapshot_id=spelling)).snapshot.snapshot_id


@pytest.mark.parametrize(
    "odd", ["urn:uuid:" + SNAPSHOT, "{" + SNAPSHOT + "}", SNAPSHOT.replace("-4f26-", "-4_26-")]
)
def test_other_spellings_of_an_id_are_refused(odd: str) -> None:
    """Spellings that Python's UUID accepts and the API does not are refused."""
    assert "bad_field" == refusal_of(with_data(snapshot_id=odd)).code


def test_every_code_is_documented() -> None:
    """The table of codes and the code that raises errors have the same codes."""
    assert set(CODES) == set(_codes_raised())


def _codes_raised() -> Iterator[str]:
    """Yield the codes that errors are created with, and those that a variable ``code`` is set to."""
    for path in Path(events.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
                "MalformedEvent",
                "InvalidEvent",
            }:
                yield from _texts(node.args[0])
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
                yield from _texts(node.value)


def _texts(node: ast.expr) -> list[str]:
    branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return [each.value for each in branches if isinstance(each, ast.Constant) and isinstance(each.value, str)]


# Values that replace the value of a field.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=40),
    st.sampled_from(
        ["../../x", "", "1.0", "2.0", "snapshot.completed", "x" * 300, "\x00", "RABBITMQ", "{}", "[]", "<"]
    ),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=10), st.integers(), max_size=3),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value, also inside JSON texts."""
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    elif isinstance(value, str) and value[:1] in {"{", "["} and (inner := _parsed(value)) is not None:
        children = [("$json", inner)]
    yield path
    for key, child in children:
        yield from _paths(child, (*path, key))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _changed(value: Any, path: tuple[Any, ...], new: Any, *, remove: bool) -> Any:
    if not path:
        return new
    key, rest = path[0], path[1:]
    if key == "$json":
        return json.dumps(_changed(json.loads(value), rest, new, remove=remove))
    copy = dict(value) if isinstance(value, dict) else list(value)
    if remove and not rest:
        del copy[key]
    else:
        copy[key] = _changed(value[key], rest, new, remove=remove)
    return copy


@pytest.mark.parametrize("name", COMPLETED + REQUESTED + FOREIGN + ("foreign-type", "rabbitmq-several"))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_changed_event_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """A sample in which one to three values are replaced or removed is decoded or refused."""
    value = load(name)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(_paths(value))))
        value = _changed(value, path, data.draw(ODD), remove=data.draw(st.booleans()))

    check(Message(json.dumps(value).encode()))
    for message in unpack(value):
        check(message)


def test_a_hundred_thousand_damaged_bodies_are_read_or_refused() -> None:
    """Random bytes, and samples with bytes replaced, removed, doubled or truncated, are read or refused."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    samples = [json.dumps(load(name)).encode() for name in COMPLETED + REQUESTED]
    samples += [each["body_utf8"].encode() for each in notifications().values()]
    samples.append(wrap(Message(samples[0], None, {"t": b"\x00"}), State(1.0), event_id="e"))

    for _ in range(50_000):
        check(Message(rng.randbytes(rng.randrange(200))))
    for _ in range(50_000):
        check(Message(_damaged(rng, rng.choice(samples))))


def _damaged(rng: random.Random, body: bytes) -> bytes:
    start = rng.randrange(len(body))
    end = min(len(body), start + rng.randrange(1, 12))
    match rng.randrange(5):
        case 0:
            return body[:start] + rng.randbytes(end - start) + body[end:]
        case 1:
            return body[:start] + body[end:]
        case 2:
            return body[:end] + body[start:]
        case 3:
            return body[:start] + rng.choice([b"null", b'"', b"{", b"[]", b"\\", b"0", b","]) + body[end:]
        case _:
            return body[:start]
