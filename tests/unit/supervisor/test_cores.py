"""How many cores may be used: affinity, and the limits of control groups of both versions."""

import os
from pathlib import Path

import pytest

from handler.supervisor.cores import usable_cores


@pytest.fixture(autouse=True)
def _sixty_four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)


def cores(folder: Path, own: str, **limits: str) -> int:
    """Return the cores of a process in the group ``own``; ``limits`` are the files of groups, by path."""
    groups = folder / "cgroup"
    for path, text in limits.items():
        file = groups / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "own").write_text(own)
    return usable_cores(folder / "own", groups)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 64),
        ("200000 100000\n", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 64),
        ("garbage", 64),
        ("100000 0", 64),
    ],
)
def test_the_limit_of_a_container_bounds_the_cores(tmp_path: Path, limit: str, expected: int) -> None:
    """Whole cores of the limit count, at least one, and no more than the machine has."""
    assert expected == cores(tmp_path, "0::/\n", **{"cpu.max": limit})


def test_the_limit_of_a_group_above_bounds_the_cores(tmp_path: Path) -> None:
    """A service of systemd may be limited by its slice."""
    own = "0::/backup.slice/backup.service\n"
    limits = {"backup.slice/cpu.max": "300000 100000", "backup.slice/backup.service/cpu.max": "max 100000"}
    assert 3 == cores(tmp_path, own, **limits)


def test_the_limit_of_version_1_bounds_the_cores(tmp_path: Path) -> None:
    """Version 1 has a folder for each controller; a quota of -1 is no limit."""
    own = "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n"
    limits = {
        "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "400000\n",
        "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    assert 4 == cores(tmp_path, own, **limits)


def test_a_group_outside_the_namespace_is_that_of_the_container(tmp_path: Path) -> None:
    """The path of such a group leads out of what the container sees, whose own limit is at the top."""
    assert 2 == cores(tmp_path, "0::/../../pod/other\n", **{"cpu.max": "200000 100000"})


def test_affinity_bounds_the_cores_where_no_limit_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container pinned to three cores has no quota."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 5}, raising=False)
    assert 3 == cores(tmp_path, "0::/\n", **{"cpu.max": "max 100000"})


def test_a_system_without_affinity_and_control_groups_counts_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert 8 == usable_cores(tmp_path / "own", tmp_path / "cgroup")
