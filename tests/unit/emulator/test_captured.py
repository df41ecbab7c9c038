"""Tests of the emulator against captured answers of Cinder; each known difference has its reason."""

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from infra.emulator.settings import Rules
from tests.unit.emulator.captured import Exchange, exchanges, request_of, world_of

# Fields that depend on the deployment or the time.
VOLATILE = ("object_count", "availability_zone", "container", "updated_at")
VENDOR_KEYS = ("os-bak-tenant-attr:tenant_id", "service_metadata")

ORDINARY_USER = "captured by an administrator, who may filter by anything; the emulator knows ordinary users"
DIFFERENCES = {
    "18-list-plain-snapshot": ORDINARY_USER,
    "29-list-detail-unknown-filter": ORDINARY_USER,
    "29-list-unknown-filter-3.34": ORDINARY_USER,
    "18-snapshot-of-in-use-without-force": "making snapshots is not part of the emulator",
    "29-backup-incremental-while-latest-creating": "29 lost the message on the way, the emulator keeps 18's",
    "29-project-not-hex": "29 routes only hex-like project ids, 18 and the emulator any",
    "18-token-create": "ids, roles and catalogue are of that Keystone",
}
SKIPPED_PARAMETER = "the page skips `incremental`: the service decides"
PAGE_RULE = "a rule of the page that Cinder does not have"
PAGE_DIFFERENCES = DIFFERENCES | {
    "18-incremental-without-full": SKIPPED_PARAMETER,
    "29-backup-incremental-while-latest-creating": SKIPPED_PARAMETER,
    "18-name-256": PAGE_RULE,
    "18-description-greater-than": PAGE_RULE,
    "18-in-use-volume-without-force": "the page requires a snapshot",
    "29-volume-unknown": "the page requires a snapshot",
}


def comparable(body: Any) -> Any:
    """Return a body without the fields that depend on the deployment or the time."""
    if isinstance(body, list):
        return [comparable(item) for item in body]
    if isinstance(body, dict):
        kept = {key: value for key, value in body.items() if key not in VENDOR_KEYS}
        return {key: "*" if key in VOLATILE else comparable(value) for key, value in kept.items()}
    return body


def answered(exchange: Exchange, rules: Rules) -> tuple[int, Any]:
    """Make the call; return status and body, with a new backup's id replaced by the captured one."""
    answer = world_of(exchange, rules).call(exchange.method, exchange.url, **request_of(exchange))
    return answer.status_code, comparable(_with_captured_id(answer, exchange))


def _with_captured_id(answer: httpx.Response, exchange: Exchange) -> Any:
    body: Any = answer.json() if answer.content else ""
    if answer.status_code == exchange.status == 202 and body:
        body = json.loads(answer.text.replace(body["backup"]["id"], exchange.answer["backup"]["id"]))
    return body


def cases(rules: Rules, differences: Mapping[str, str], *, equal: bool) -> list[Any]:
    """Return the exchanges without an entry in ``differences``, or those with one."""
    selected = [exchange for exchange in exchanges(rules) if (exchange.id not in differences) == equal]
    return [pytest.param(exchange, id=exchange.id) for exchange in selected]


@pytest.mark.parametrize("exchange", cases("cinder", DIFFERENCES, equal=True))
def test_an_answer_by_cinders_rules_equals_the_captured_one(exchange: Exchange) -> None:
    """The emulator answers with the captured status and body by Cinder's rules."""
    assert (exchange.status, comparable(exchange.answer)) == answered(exchange, "cinder")


@pytest.mark.parametrize("exchange", cases("page", PAGE_DIFFERENCES, equal=True))
def test_an_answer_by_the_pages_rules_equals_the_captured_one(exchange: Exchange) -> None:
    """The emulator answers with the captured status and body, except where the page has its own rule."""
    assert (exchange.status, comparable(exchange.answer)) == answered(exchange, "page")


@pytest.mark.parametrize("exchange", cases("cinder", DIFFERENCES, equal=False))
def test_each_listed_difference_from_cinder_exists(exchange: Exchange) -> None:
    """Each listed exchange still gets another answer by Cinder's rules than the captured one."""
    assert (exchange.status, comparable(exchange.answer)) != answered(exchange, "cinder")


@pytest.mark.parametrize("exchange", cases("page", PAGE_DIFFERENCES, equal=False))
def test_each_listed_difference_by_the_page_exists(exchange: Exchange) -> None:
    """Each listed exchange still gets another answer by the page's rules than the captured one."""
    assert (exchange.status, comparable(exchange.answer)) != answered(exchange, "page")


def test_every_difference_names_a_captured_exchange() -> None:
    """Each id in the tables of differences is the id of a captured exchange."""
    known = {exchange.id for exchange in exchanges("cinder")}
    assert set() == set(PAGE_DIFFERENCES) - known


@pytest.mark.parametrize("exchange", cases("cinder", DIFFERENCES, equal=True))
def test_the_relevant_headers_equal_cinders(exchange: Exchange) -> None:
    """Header names and values equal Cinder's, except request id, microversion and Keystone's address."""
    answer = world_of(exchange, "cinder").call(exchange.method, exchange.url, **request_of(exchange))
    expected = {name.lower(): value for name, value in exchange.answer_headers.items()}
    actual = {name: answer.headers.get(name) for name in expected}
    # Whether an error has the microversion in its headers depends on Cinder's layer.
    for name in ("x-openstack-request-id", "www-authenticate", "openstack-api-version"):
        expected.pop(name, None)
        actual.pop(name, None)
    assert expected == actual
    assert re.fullmatch(r"req-[0-9a-f-]{36}", answer.headers["x-openstack-request-id"])
