"""``snapshot-backup schemas``: writes the JSON Schemas and the AsyncAPI document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from events import schemas as documents
from handler import output_file
from handler.commands.common import AsJson, fail, print_json
from handler.commands.console import console


def schemas(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to write to; created if it does not exist.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write the JSON Schemas of all events, and the AsyncAPI 3 document."""
    try:
        written = [*map(str, _write(out))]
    except OSError as error:
        raise fail(f"--out {out}: {error.strerror}") from None
    if as_json:
        print_json({"files": written})
    else:
        for path in written:
            console().print(path, soft_wrap=True, markup=False)


def _write(folder: Path) -> Iterator[Path]:
    """Write each document into a folder, which is created if it is missing; yield their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in documents.documents().items():
        output_file.write(folder / name, documents.render(schema).encode())
        yield folder / name
