"""The commands ``dead-letters export`` and ``drop``."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from handler.commands.audited import audited_if_known
from handler.commands.common import AsJson, DryRun, Yes, confirm, print_json
from handler.commands.console import console
from handler.commands.dead_letters import options, view
from handler.commands.dead_letters.listing import count, groups_json
from handler.commands.values import checked, new_file
from handler.dead_letters.archive import Archive
from handler.dead_letters.dropping import drop
from handler.dead_letters.queue_session import selected
from handler.settings import Settings

NewFile = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FILE",
        callback=checked(new_file),
        help="The file to create; an existing file is an error.",
    ),
]


def export_command(
    out: NewFile,
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
    """Copy dead letters into a file of JSON lines; they stay in the queue.

    `replay --from FILE` replays them from there. The file contains whole
    messages: protect it as you protect those. Without a filter, all dead letters
    are exported.
    """
    filters = options.filters(ids, categories, codes, projects, snapshots, since, until)

    async def work(settings: Settings) -> int:
        async with options.queue_session(settings) as queue_session:
            with Archive(out) as archive:
                async with queue_session.open() as found:
                    async for held in selected(found, filters, limit=limit):
                        archive.add(held.dead_letter)
                archive.save()
                return archive.count

    exported = options.run(work)
    if as_json:
        print_json({"exported": exported, "file": str(out)})
    else:
        console().print(f"{view.counted(exported)} in {out}", markup=False, soft_wrap=True)


def drop_command(
    ids: options.Ids = None,
    categories: options.Categories = None,
    codes: options.Codes = None,
    projects: options.Projects = None,
    snapshots: options.Snapshots = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            callback=checked(new_file),
            help="The file to export to first (default: a new file in the current folder).",
        ),
    ] = None,
    no_export: Annotated[bool, typer.Option("--no-export", help="Delete without a copy.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good, after exporting them to a file (unless --no-export).

    Asks before it deletes. Without a filter, all dead letters are dropped.
    """
    filters = options.filters(ids, categories, codes, projects, snapshots, since, until)
    path = None if no_export else out or Path(f"dead-letters-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")

    async def work(settings: Settings) -> int:
        async with options.queue_session(settings) as queue_session:
            if dry_run or not yes:
                groups, _ = await count(queue_session, filters, keep=0, limit=limit)
                if dry_run and as_json:
                    print_json({"would_drop": groups.total, "groups": groups_json(groups)})
                else:
                    view.print_groups(view.out(error=as_json), groups, queue_session.topology.dead)
                if dry_run or not groups.total:
                    return 0
                await confirm(f"Drop {view.counted(groups.total)} for good?", yes=yes)
            about = options.about(filters, limit)
            async with audited_if_known(settings, "drop", about) as act, queue_session.open() as found:
                act.number = await drop(found, filters, limit, path)
                act.outcome = f"done, exported to {path}" if path else "done, without an export"
                return act.number

    dropped = options.run(work)
    if dry_run:
        return
    kept = f", exported to {path}" if path and dropped else ""
    if as_json:
        print_json({"dropped": dropped, "file": str(path) if kept else None})
    else:
        console().print(f"dropped {view.counted(dropped)}{kept}", markup=False, soft_wrap=True)
