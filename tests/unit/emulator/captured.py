"""Exchanges captured from Cinder, and the state of the emulator that reproduces each of them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from infra.emulator.rules import is_uuid
from infra.emulator.settings import Rules, Settings
from infra.emulator.store import Volume, new_id
from tests.unit.emulator.world import NOW, World, stored_backup, stored_snapshot

FILE = Path(__file__).parents[2] / "data" / "cinder" / "api.jsonl"
MEMBER_TOKEN = "t" * 300
PORTS = {"18": 8776, "29": 8777}
# The page forbids names that start with auto, so by its rules the same calls use another name.
CAPTURED_NAME, PAGE_NAME = "auto-backup", "nite-backup"


@dataclass(frozen=True)
class Exchange:
    """One captured call and its answer."""

    id: str
    case: str
    cinder: str
    method: str
    url: str
    body: Any
    headers: Mapping[str, str]
    status: int
    answer: Any
    answer_headers: Mapping[str, str]

    @property
    def project_id(self) -> str:
        """The project in the path."""
        return self.url.split("/")[2]

    @property
    def query(self) -> dict[str, str]:
        """The decoded query."""
        return dict(parse_qsl(urlsplit(self.url).query))

    @property
    def wanted(self) -> dict[str, Any]:
        """The backup object of a create request; empty for other calls."""
        found = self.body.get("backup", {}) if isinstance(self.body, dict) else {}
        return found if isinstance(found, dict) else {}


def exchanges(rules: Rules) -> list[Exchange]:
    """Return the exchanges of the file."""
    text = FILE.read_text()
    if rules == "page":
        text = text.replace(CAPTURED_NAME, PAGE_NAME)
    return [_exchange(json.loads(line)) for line in text.splitlines()]


def _exchange(line: dict[str, Any]) -> Exchange:
    request, response = line["request"], line["response"]
    return Exchange(
        id=f"{line['cinder']}-{line['case']}",
        case=line["case"],
        cinder=line["cinder"],
        method=request["method"],
        url=request["path"],
        body=request["body"],
        headers=request.get("headers", {}),
        status=response["status"],
        answer=response["body"],
        answer_headers=response["headers"],
    )


def world_of(exchange: Exchange, rules: Rules) -> World:
    """Return an emulator in the state of the exchange."""
    settings = Settings(race=0, strict=True, rules=rules, **_settings(exchange))
    world = World(settings, f"http://127.0.0.1:{PORTS[exchange.cinder]}")
    GIVEN.get(exchange.case, _as_named)(world, exchange)
    return world


def request_of(exchange: Exchange) -> dict[str, Any]:
    """Return the body and headers to send, as arguments of httpx."""
    headers = dict(exchange.headers)
    if exchange.case.startswith("member"):
        headers["X-Auth-Token"] = MEMBER_TOKEN
    if exchange.case == "token-nonsense":
        headers["X-Auth-Token"] = "nonsense"
    if exchange.method in ("GET", "DELETE"):
        return {"headers": headers}
    headers["Content-Type"] = "text/plain" if exchange.case == "content-type-text" else "application/json"
    return {"headers": headers, "content": _content(exchange)}


def _content(exchange: Exchange) -> str:
    """Return the body to send; of a very large body only the beginning was captured."""
    if "raw" not in exchange.body:
        return json.dumps(exchange.body)
    raw: str = exchange.body["raw"]
    return raw.ljust(120_000, "x") if exchange.case == "body-too-large" else raw


def _settings(exchange: Exchange) -> dict[str, Any]:
    if exchange.case == "quota-backups":
        return {"quota_backups": 0}
    if exchange.case == "quota-gigabytes":
        return {"quota_gigabytes": 1}
    if exchange.case == "token-create":
        return {"username": "alice", "project_id": "89cec8aa3b294feabba3b5e167d10dd3", "token_ttl": 3600}
    if exchange.case == "member-other-project":
        return {"auth": "token", "token": MEMBER_TOKEN, "project_id": "89cec8aa3b294feabba3b5e167d10dd3"}
    if exchange.case.startswith(("member", "no-token", "token-nonsense")):
        return {"auth": "token", "token": MEMBER_TOKEN}
    return {}


def _as_named(world: World, exchange: Exchange) -> None:
    """Store the objects that the request names and the answer shows, and a backup of another volume."""
    _have_source(world, exchange)
    if exchange.status == 200 and "snapshots" in exchange.url:
        _have_shown_snapshot(world, exchange.answer["snapshot"])
    elif exchange.status == 200:
        if not exchange.case.startswith("member"):
            world.store.add(
                stored_backup(id=new_id(), project_id=exchange.project_id, volume_id=new_id(), created_at=0)
            )
        shown = exchange.answer.get("backups", [exchange.answer.get("backup")])
        for backup in reversed(shown):
            _have_shown_backup(world, exchange, backup)


def _have_source(world: World, exchange: Exchange, **facts: object) -> None:
    wanted = exchange.wanted
    if is_uuid(wanted.get("volume_id")):
        world.store.volumes[wanted["volume_id"]] = Volume(wanted["volume_id"])
    if is_uuid(wanted.get("snapshot_id")):
        usual = {"id": wanted["snapshot_id"], "volume_id": wanted["volume_id"]}
        snapshot = stored_snapshot(project_id=exchange.project_id, **{**usual, **facts})
        world.store.snapshots[snapshot.id] = snapshot


def _have_shown_snapshot(world: World, shown: dict[str, Any]) -> None:
    facts = {name: shown[name] for name in ("id", "volume_id", "name", "description", "size", "metadata")}
    busy_until = NOW + 60 if shown["status"] == "backing-up" else seconds(shown["updated_at"])
    project_id = shown["os-extended-snapshot-attributes:project_id"]
    snapshot = stored_snapshot(
        **facts, project_id=project_id, created_at=seconds(shown["created_at"]), busy_until=busy_until
    )
    world.store.declare(snapshot)


def _have_shown_backup(world: World, exchange: Exchange, shown: dict[str, Any]) -> None:
    """Store a backup as an answer shows it; a plain list shows only id and name."""
    copied = ("id", "name", "description", "volume_id", "fail_reason")
    facts: dict[str, Any] = {name: value for name, value in shown.items() if name in copied}
    facts.setdefault("volume_id", exchange.query.get("volume_id", new_id()))
    if "created_at" in shown:
        facts["created_at"] = seconds(shown["created_at"])
        facts["data_timestamp"] = seconds(shown["data_timestamp"])
        facts["ends_at"] = NOW + 60 if shown["status"] == "creating" else seconds(shown["updated_at"])
    if shown.get("is_incremental"):
        facts["parent"] = stored_backup(id=new_id())
    backup = stored_backup(project_id=exchange.project_id, **facts)
    world.store.add(backup)
    backup.snapshot_id = shown.get("snapshot_id")


def seconds(text: str) -> float:
    """Parse a time of Cinder."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _busy(world: World, exchange: Exchange) -> None:
    _have_source(world, exchange, busy_until=NOW + 60)


def _unfit(status: str) -> Callable[[World, Exchange], None]:
    return lambda world, exchange: _have_source(world, exchange, status=status)


def _in_use(world: World, exchange: Exchange) -> None:
    _have_source(world, exchange)
    world.store.volumes[exchange.wanted["volume_id"]].status = "in-use"


def _volume_only(world: World, exchange: Exchange) -> None:
    world.store.volumes[exchange.wanted["volume_id"]] = Volume(exchange.wanted["volume_id"])


def _snapshot_only(world: World, exchange: Exchange) -> None:
    _have_source(world, exchange, volume_id=new_id())
    del world.store.volumes[exchange.wanted["volume_id"]]


def _nothing(_world: World, _exchange: Exchange) -> None:
    pass


def _of_another(world: World, exchange: Exchange) -> None:
    """Store the snapshot under the volume that the answer names."""
    owner = exchange.answer["badRequest"]["message"].split()[-1].rstrip(".")
    _have_source(world, exchange, volume_id=owner)


def _backed_up_before(world: World, exchange: Exchange) -> None:
    _have_source(world, exchange)
    volume_id = exchange.wanted["volume_id"]
    world.store.add(stored_backup(id=new_id(), project_id=exchange.project_id, volume_id=volume_id))


def _being_backed_up(world: World, exchange: Exchange) -> None:
    _have_source(world, exchange)
    facts = {"project_id": exchange.project_id, "volume_id": exchange.wanted["volume_id"]}
    world.store.add(stored_backup(id=new_id(), ends_at=NOW + 60, **facts))


def _consumed(world: World, exchange: Exchange) -> None:
    """Store as many gigabytes as the answer says are used."""
    _have_source(world, exchange)
    gigabytes = exchange.answer["overLimit"]["message"].split("and ")[1].split("G")[0]
    world.store.add(stored_backup(id=new_id(), project_id=exchange.project_id, size=int(gigabytes)))


def _deletable(world: World, exchange: Exchange) -> None:
    world.store.add(stored_backup(id=exchange.url.split("/")[-1], project_id=exchange.project_id))


def _still_creating(world: World, exchange: Exchange) -> None:
    _deletable(world, exchange)
    world.store.backups[exchange.url.split("/")[-1]].ends_at = NOW + 60


def _deleted(world: World, exchange: Exchange) -> None:
    _deletable(world, exchange)
    world.store.delete(world.store.backups[exchange.url.split("/")[-1]])


GIVEN: Mapping[str, Callable[[World, Exchange], None]] = {
    "backup-create-again-after-done": _backed_up_before,
    "backup-duplicate-while-backing-up": _busy,
    "backup-delete-while-creating": _still_creating,
    "backup-delete": _deletable,
    "backup-show-deleted": _deleted,
    "volume-unknown": _nothing,
    "volume-unknown-with-snapshot": _snapshot_only,
    "snapshot-unknown": _volume_only,
    "snapshot-of-another-volume": _of_another,
    "snapshot-still-creating": _unfit("creating"),
    "snapshot-in-error": _unfit("error"),
    "incremental-snapshot-older-than-full": _backed_up_before,
    "incremental-after-full": _backed_up_before,
    "backup-incremental-while-latest-creating": _being_backed_up,
    "in-use-volume-without-force": _in_use,
    "in-use-volume-snapshot-without-force": _in_use,
    "quota-gigabytes": _consumed,
}
