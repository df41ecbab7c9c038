"""T28: for each planted bug, the test in its ``caught_by`` fails."""

from pathlib import Path

import pytest

from tests.chaos.planted_bugs import BUGS, FAILED, QUICK, Bug, plant, run_test


def _caught(bug: Bug, folder: Path) -> None:
    plant(bug, folder)
    done = run_test(bug, folder)
    print(f"{bug.caught_by}: {done.stdout.strip().splitlines()[-1]}")
    assert FAILED == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", QUICK)
def test_some_planted_bugs_are_caught(name: str, tmp_path: Path) -> None:
    """Three of the planted bugs make their tests fail, in every run."""
    _caught(BUGS[name], tmp_path)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(set(BUGS) - set(QUICK)))
def test_every_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """All other planted bugs make their tests fail."""
    _caught(BUGS[name], tmp_path)


def test_every_bug_can_be_planted() -> None:
    """The text that each bug replaces is in the present code exactly once."""
    root = Path(__file__).parents[2]
    missing = [name for name, bug in BUGS.items() if (root / bug.file).read_text().count(bug.right) != 1]
    assert [] == missing
