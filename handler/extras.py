"""Optional dependencies (extras): a missing one is reported in one line instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from handler.errors import ExtraMissing


def install(extra: str) -> str:
    """Return the sentence that says how to install an extra."""
    return f"install the extra: pip install 'snapshot-backup[{extra}]'"


@contextmanager
def needing(extra: str, *packages: str) -> Iterator[None]:
    """Wrap an import that needs an extra. Raises ``ExtraMissing`` if one of its ``packages`` is missing.

    Any other missing module is a bug in this program, and stays a ``ModuleNotFoundError``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages:
            raise
        raise ExtraMissing(f"the package {missing} is not installed; {install(extra)}") from None
