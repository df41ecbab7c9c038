"""How many cores this process may use: by its affinity, and by the CPU limit of its container or service."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores(own: Path = _OWN, cgroups: Path = _CGROUPS) -> int:
    """Return the number of cores; at least 1. A limit of 2.5 CPUs is 2 cores: a third would be throttled."""
    return max(1, int(min([_allowed(), *_limits(own, cgroups)])))


def _allowed() -> int:
    """Return the cores that the system lets this process run on."""
    with suppress(AttributeError):  # macOS has no affinity
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limits(own: Path, cgroups: Path) -> Iterator[float]:
    """Yield the CPU limit of each control group that this process is in."""
    for controllers, group in _groups(own):
        version_2 = not controllers
        root = cgroups if version_2 else cgroups / controllers
        for folder in (group, *group.parents):
            here = root / folder.relative_to("/")
            limit = _limit_2(here) if version_2 else _limit_1(here)
            if limit is not None:
                yield limit


def _groups(own: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield the groups that limit CPU, with the names of their controllers: none in version 2."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        # A group outside the namespace of this container is shown as /../…
        group = PurePosixPath("/") if path.startswith("/..") else PurePosixPath(path)
        if not controllers or "cpu" in controllers.split(","):
            yield controllers, group


def _limit_2(folder: Path) -> float | None:
    """Return the limit of a group of version 2: ``max 100000``, or ``quota period``."""
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _limit_1(folder: Path) -> float | None:
    """Return the limit of a group of version 1; a quota of -1 is none."""
    return _ratio(_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip())


def _ratio(quota: str, period: str) -> float | None:
    if quota.isdigit() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return None


def _text(path: Path) -> str:
    """Return what a file holds; nothing where it does not exist."""
    with suppress(OSError):
        return path.read_text()
    return ""
