"""The standard streams of the process: closed ones, other encodings than UTF-8, and output that fails.

Dangers:
- If standard output or error is closed, the next file or socket that is opened gets its number, and what is
  printed goes there.
- Python writes the last output after the program has ended, an error there gives a warning and code 120.
"""

import codecs
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TextIO

_ASCII: Final = {"→": "->", "…": "...", "─": "-", "│": "|"}
"""What replaces our own characters where the terminal has none of them; others become a question mark."""

INTERRUPTED: Final = 130
"""The exit code that shells show after Ctrl-C."""

FAILED: Final = 1

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def prepare() -> None:
    """Open what is closed, and let no character end the program that the terminal does not have."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdin = sys.stdin or _opened(0, "r")
    sys.stdout = sys.stdout or _opened(1, "w")
    sys.stderr = sys.stderr or _opened(2, "w")
    codecs.register_error("snapshot-backup", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="snapshot-backup")


def _opened(number: int, mode: str) -> Any:
    return open(number, mode, encoding="utf-8", closefd=False)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(char, "?") for char in error.object[error.start : error.end]), error.end


def is_full(error: OSError) -> bool:
    """Return whether what is behind a standard stream takes no more, such as a full disk."""
    return error.filename is None and error.errno in _FULL


def write_out() -> OSError | None:
    """Write what is still held back, and return the error if standard output takes it no more."""
    errors = [_flushed(stream, number) for stream, number in ((sys.stdout, 1), (sys.stderr, 2))]
    return errors[0]


def _flushed(stream: TextIO, number: int) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        # Python would try once more when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        return error
    return None


def say_interrupted() -> None:
    """Print one line for Ctrl-C; a terminal shows ^C where the cursor was."""
    print("\ninterrupted" if sys.stderr and sys.stderr.isatty() else "interrupted", file=sys.stderr)


@contextmanager
def ending_at_interrupt() -> Iterator[None]:
    """While modules are imported, let Ctrl-C end the process at once, with its line.

    As an exception it would end in a traceback wherever it is wrapped, as Python 3.11 does while it makes a
    class, and be lost where it is ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    # Another handler, or an ignored signal, was chosen by a caller; only the main thread may change it.
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    say_interrupted()
    end_by_interrupt()


def end_by_interrupt() -> None:
    """End by SIGINT as a program does that does not catch it, so that a loop of a shell ends too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
