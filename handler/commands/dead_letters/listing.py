"""The commands ``dead-letters list`` and ``show``."""

import base64
import json
from typing import Annotated, Any

import typer

from events.headers import headers_to_json
from handler import bootstrap
from handler.commands.common import AsJson, fail, print_json, to_json
from handler.commands.dead_letters import options, view
from handler.commands.values import checked
from handler.console.looks import group_document
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.filters import Filters
from handler.dead_letters.groups import Groups
from handler.dead_letters.inquiry import Answer, ask_api, ask_ledger
from handler.dead_letters.queue_session import QueueSession, selected
from handler.dead_letters.remedies import remedy
from handler.errors import SettingsError
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import Settings

SHOWN = 20


def list_command(
    ids: options.Ids = None,
    categories: options.Categories = None,
    codes: options.Codes = None,
    projects: options.Projects = None,
    snapshots: options.Snapshots = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters: counts by category and code, what to do, and the 20 oldest.

    --limit shows more of them, or fewer. The queue stays as it is. With --json,
    every matching dead letter is listed, at most --limit.
    """
    filters = options.filters(ids, categories, codes, projects, snapshots, since, until)

    async def work(settings: Settings) -> None:
        async with options.queue_session(settings) as queue_session:
            if as_json:
                await _print_json(queue_session, filters, limit)
            else:
                groups, dead_letters = await count(
                    queue_session, filters, keep=SHOWN if limit is None else limit
                )
                _print(groups, dead_letters, queue_session.topology.dead)

    options.run(work)


async def count(
    queue_session: QueueSession, filters: Filters, *, keep: int, limit: int | None = None
) -> tuple[Groups, list[DeadLetter]]:
    """Count the matching dead letters, at most ``limit``, and keep the first ``keep`` of them."""
    groups, dead_letters = Groups(), list[DeadLetter]()
    async with queue_session.open() as found:
        async for held in selected(found, filters, limit=limit):
            groups.add(held.dead_letter)
            if len(dead_letters) < keep:
                dead_letters.append(held.dead_letter)
    return groups, dead_letters


def _print(groups: Groups, dead_letters: list[DeadLetter], queue: str) -> None:
    out = view.out()
    if not groups.total:
        out.print(f"{queue}: no matching dead letters")
        return
    view.print_groups(out, groups, queue)
    view.print_dead_letters(out, dead_letters)
    if len(dead_letters) < groups.total:
        out.print(
            f"{len(dead_letters)} of {groups.total:,} shown; --limit N lists more, `show ID` one in full"
        )


async def _print_json(queue_session: QueueSession, filters: Filters, limit: int | None) -> None:
    """Print one JSON document while reading, so that memory does not grow with the queue."""
    groups, between = Groups(), ""
    async with queue_session.open() as found:
        print('{"messages": [', end="")
        async for held in selected(found, filters, limit=limit):
            groups.add(held.dead_letter)
            print(between, to_json(held.dead_letter.facts()), sep="", end="")
            between = ",\n"
    print(f'], "groups": {to_json(groups_json(groups))}, "total": {groups.total}}}')


def groups_json(groups: Groups) -> list[dict[str, Any]]:
    """Return the groups as JSON."""
    return [group_document(group) for group in groups]


def show_command(
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID", callback=checked(options.dead_letter_id), help="The ID that `list` shows."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: reason, remedy, headers, body, and what ledger and API know of its snapshot."""

    async def work(settings: Settings) -> None:
        dead_letter = await _find(settings, id_)
        original = dead_letter.original()
        document = {
            **dead_letter.facts(),
            "remedy": remedy(dead_letter.category, dead_letter.code),
            "headers": headers_to_json(dead_letter.message.headers),
            "content_type": dead_letter.message.content_type,
            "original": {
                "content_type": original.content_type,
                "headers": headers_to_json(original.headers),
                "properties": dict(original.properties),
            },
            "body": _body(original.body),
            "ledger": await _ledger(settings, dead_letter),
            "api": await _api(settings, dead_letter),
        }
        if as_json:
            print_json(document)
        else:
            _print_all(dead_letter, document)

    options.run(work)


async def _find(settings: Settings, id_: str) -> DeadLetter:
    async with options.queue_session(settings) as queue_session, queue_session.open() as found:
        async for held in selected(found, Filters(ids=frozenset({id_})), limit=1):
            return held.dead_letter
    raise fail(f"no dead letter has the ID {id_}; `dead-letters list` shows the IDs")


def _body(body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


async def _ledger(settings: Settings, dead_letter: DeadLetter) -> Answer:
    url = settings.ledger_url.get_secret_value()
    if url == "none":
        return "not asked: LEDGER_URL is none"
    if url.startswith("sqlite:") and not (path := sqlite_path(url)).exists():
        return f"not asked: LEDGER_URL names {path.absolute()}, which does not exist on this machine"
    ledger = open_ledger(url, lease_seconds=settings.lease_seconds)
    try:
        return await ask_ledger(ledger, dead_letter)
    finally:
        await ledger.aclose()


async def _api(settings: Settings, dead_letter: DeadLetter) -> Answer:
    try:
        async with bootstrap.parts(settings) as parts:
            return await ask_api(parts.api, dead_letter)
    except SettingsError as error:
        return f"not asked: {error}"


def _print_all(dead_letter: DeadLetter, document: dict[str, Any]) -> None:
    out = view.out()
    parts = ("headers", "original", "body", "ledger", "api")
    for name, value in document.items():
        if name not in parts:
            out.print(view.plain(f"{name + ':':14} {'-' if value is None else value}"), soft_wrap=True)
    for name in parts:
        value = document[name]
        out.print(f"\n[bold]{name}[/bold]")
        text = view.pretty(value) if isinstance(value, dict | list) else view.plain(str(value))
        out.print(text, soft_wrap=True)
    out.print(f"\nTo replay it: snapshot-backup dead-letters replay --id {dead_letter.id}")
