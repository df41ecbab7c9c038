"""The entry of the console command; without the extra ``cli`` it says what to install."""

import sys
from contextlib import suppress
from typing import NoReturn

from handler import streams
from handler.errors import ExtraMissing
from handler.extras import needing
from handler.redaction import install_excepthook


def main() -> NoReturn:
    """Run ``snapshot-backup``, and end the process."""
    install_excepthook()
    streams.prepare()
    _keep_httpx_small()
    code = _run()
    if code == streams.INTERRUPTED:
        streams.say_interrupted()
    if error := streams.write_out():
        code = _cannot_write(error)
    if code == streams.INTERRUPTED:
        streams.end_by_interrupt()
    sys.exit(code)


def _keep_httpx_small() -> None:
    """Keep httpx from importing its own command line, with click, rich and Pygments: half of its import."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # Python's way to say: not to be had


def _run() -> int:
    """Run the command line, and return the exit code."""
    try:
        with needing("cli", "rich", "typer"), streams.ending_at_interrupt():
            from handler.cli import app
        app(prog_name="snapshot-backup")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return streams.INTERRUPTED
    except ExtraMissing as error:
        print(f"snapshot-backup: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not streams.is_full(error):
            raise
        streams.write_out()  # what is held back is lost too; it is not complained about twice
        return _cannot_write(error)
    return 0


def _cannot_write(error: OSError) -> int:
    """Say why the output is incomplete, unless its reader has ended, as in ``… | head``."""
    if not isinstance(error, BrokenPipeError):
        with suppress(OSError):  # standard error may be the one that is full
            print(f"failed: the output cannot be written: {error.strerror}", file=sys.stderr)
    return streams.FAILED


if __name__ == "__main__":
    main()
