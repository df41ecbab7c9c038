"""The benchmark of a large ledger runs, in a short form."""

from pathlib import Path

import pytest

from tests.bench import growth


def test_the_benchmark_of_a_large_ledger_prints_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmark makes its ledgers, prints a line for each size, and prunes exactly the old rows."""
    short = "--sizes 0 300 --old 100 --events 64 --rounds 1 --callers 2 --seconds 0.1"
    growth.main([*short.split(), "--folder", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert ["0", "300"] == [line.split()[0] for line in lines[2:4]]
    assert "100 rows pruned" == lines[-1]
