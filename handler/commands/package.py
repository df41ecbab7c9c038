"""``snapshot-backup package``: builds the FunctionGraph bundle."""

import dataclasses
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handler.commands.common import AsJson, fail, failing_plainly, print_json, warn
from handler.commands.console import console, working
from handler.function.bundle.archive import MAX_PACKED, MAX_UNPACKED, Written, write
from handler.function.bundle.bytecode import compiled, compiler
from handler.function.bundle.sources import sources
from handler.function.bundle.wheels import wheels

_MEGABYTE = 1024 * 1024
_SLOW = "no bytecode was added: python3.12 is not on the PATH. Each cold start takes three times as long"


class Extra(StrEnum):
    """Optional contents of a bundle."""

    POSTGRES = "postgres"


def package(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The ZIP file to write.", dir_okay=False)],
    extras: Annotated[
        list[Extra] | None,
        typer.Option(
            "--with", metavar="EXTRA", help="postgres adds the driver for LEDGER_URL=postgresql://…"
        ),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Add a file at the root, such as the broker's CA file or the RULES_FILE. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the ZIP bundle for FunctionGraph.

    In FunctionGraph choose the runtime Python 3.12, the handler index.handler and
    the initializer index.initializer.

    pip downloads the packages for that platform, whatever this machine is. Python
    3.12 compiles them, if this is one or python3.12 is on the PATH. Without
    bytecode each cold start takes three times as long. The same input gives the
    same bytes.
    """
    if not os.access(out.parent, os.W_OK):
        raise fail(f"--out {out}: its folder does not exist, or is not writable", code=2)
    added = _read(add or [])
    with failing_plainly(), working("fetching packages"):
        written = _write(out, {**_modules(frozenset(extras or [])), **added})
    _print(written, as_json=as_json)
    if not written.compiled:
        warn(_SLOW)


def _write(out: Path, files: Mapping[str, bytes]) -> Written:
    try:
        return write(out, files)
    except OSError as error:
        raise fail(f"--out {out}: {error.strerror}") from None


def _modules(extras: frozenset[str]) -> Mapping[str, bytes]:
    """Return the dependencies' modules and ours, with bytecode if Python 3.12 is available."""
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
        print_json(dataclasses.asdict(written))
        return
    console().print(
        f"{written.file}: {written.zip_bytes / _MEGABYTE:.1f} MB (of {MAX_PACKED / _MEGABYTE:.0f}), "
        f"unpacked {written.unpacked_bytes / _MEGABYTE:.1f} MB (of {MAX_UNPACKED / _MEGABYTE:.0f}), "
        f"{written.files} files, {written.compiled} of them bytecode"
    )
