"""``snapshot-backup package``: the function's bundle."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handler.commands.common import AsJson, console, fail, failing_plainly, progress_console
from handler.function.bundle.archive import MAX_PACKED, MAX_UNPACKED, Written, write
from handler.function.bundle.bytecode import compiled, compiler
from handler.function.bundle.sources import sources
from handler.function.bundle.wheels import wheels

_MEGABYTE = 1024 * 1024
_SLOW = "no bytecode in it, since the path has no python3.12: each cold start takes three times as long"


class Extra(StrEnum):
    """What a bundle holds on request."""

    POSTGRES = "postgres"


def package(
    out: Annotated[Path, typer.Option(help="The ZIP file to write.", dir_okay=False)],
    extras: Annotated[
        list[Extra] | None, typer.Option("--with", help="Put the driver for LEDGER_URL=postgresql://… in.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(help="Put a file in, at the root: the broker's authority, or the RULES_FILE."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the bundle for FunctionGraph: runtime Python 3.12, handler index.handler and index.initializer.

    The packages it needs are fetched with pip for that platform, whatever this machine is. A Python 3.12,
    this one or python3.12 on the path, compiles them: without one each cold start takes three times as long.
    The same input gives the same bytes.
    """
    if not os.access(out.parent, os.W_OK):
        raise fail(f"--out {out}: there is no such folder, or it cannot be written to", code=2)
    added = _read(add or [])
    with failing_plainly(), progress_console().status("Fetching packages"):
        written = write(out, {**_modules(frozenset(extras or [])), **added})
    _print(written, as_json=as_json)
    if not written.compiled:
        print(_SLOW, file=sys.stderr)


def _modules(extras: frozenset[str]) -> Mapping[str, bytes]:
    """Return others' modules and ours, and their bytecode where it can be made."""
    theirs, ours = wheels(extras), sources()
    python = compiler()
    if python is None:
        return {**theirs, **ours}
    bytecode = {**compiled(python, theirs, editable=False), **compiled(python, ours, editable=True)}
    return {**theirs, **ours, **bytecode}


def _read(paths: list[Path]) -> dict[str, bytes]:
    try:
        return {path.name: path.read_bytes() for path in paths}
    except OSError as error:
        raise fail(f"--add {error.filename}: {error.strerror}", code=2) from None


def _print(written: Written, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(written)))
        return
    console().print(
        f"{written.file}: {written.zip_bytes / _MEGABYTE:.1f} MB (of {MAX_PACKED / _MEGABYTE:.0f}), "
        f"unpacked {written.unpacked_bytes / _MEGABYTE:.1f} MB (of {MAX_UNPACKED / _MEGABYTE:.0f}), "
        f"{written.files} files, {written.compiled} of them bytecode"
    )
