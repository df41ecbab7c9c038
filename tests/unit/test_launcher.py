"""The launcher: an installation that cannot work is one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.launcher.__main__ import incomplete, main

ROOT = Path(__file__).parents[2]


def test_a_missing_dependency_is_one_line() -> None:
    """Without the packages of site-packages, the program names the first one that it needs."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "infra.launcher"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (2, 1) == (done.returncode, done.stderr.count("\n")), done.stderr
    assert "snapshot-backup: pydantic is not installed: install snapshot-backup again" in done.stderr


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("pika", "pika is not installed"),
        ("pydantic_core._pydantic_core", "pydantic_core is not made for"),
        ("_sqlite3", "this Python has no module _sqlite3"),
    ],
)
def test_each_cause_of_a_failed_import_has_a_sentence_of_its_own(module: str, reason: str) -> None:
    """A missing package, one that was built for another Python, and a Python without a module differ."""
    assert incomplete(module).startswith(reason)


def test_a_python_that_is_too_old_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program names the Python that it was started with, and the one that it needs."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))

    with pytest.raises(SystemExit, match="2"):
        main()

    assert capsys.readouterr().err.startswith(
        "snapshot-backup: Python 3.11 or later is needed, and this is /"
    )
