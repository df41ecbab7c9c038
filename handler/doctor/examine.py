"""Checks all areas at once, each within its time limit.

The checks change nothing: they publish no message that anybody could receive, fetch none, declare nothing
(unless asked), and try no sign-in twice.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from handler.doctor.advice import examine_settings, settings_finding
from handler.doctor.api import examine_api
from handler.doctor.broker import examine_broker
from handler.doctor.findings import Area, Finding
from handler.doctor.ledger import examine_ledger
from handler.errors import SettingsError, SnapshotBackupError
from handler.settings import load_settings

LIMIT_SECONDS = 40.0
"""For each area."""


async def examine(*, declare: bool = False, limit: float = LIMIT_SECONDS) -> list[Finding]:
    """Check everything that the environment's settings name; ``make`` declares the topology first.

    Raises nothing: what cannot be checked is a finding.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        return [
            *map(settings_finding, error.problems),
            *(_skipped(area) for area in ("broker", "api", "ledger")),
        ]
    found = [each async for each in examine_settings(settings)]
    # What is wrong with the settings of one area must not keep the others from being looked at.
    wrong = " ".join(each.what for each in found if each.state == "bad")
    areas: dict[Area, AsyncIterator[Finding]] = {
        "broker": examine_broker(settings, declare=declare),
        "api": examine_api(settings),
        "ledger": examine_ledger(settings),
    }
    work = [
        _skip(area) if any(name in wrong for name in _NEEDS[area]) else _within(limit, area, checks)
        for area, checks in areas.items()
    ]
    for group in await asyncio.gather(*work):
        found += group
    return found


_NEEDS: dict[Area, tuple[str, ...]] = {
    "broker": ("AMQP_",),
    "api": ("VBS_", "OS_", "HUAWEICLOUD_", "_PROXY", "_proxy"),
    "ledger": ("LEDGER_",),
}
"""The settings, by a part of their names, without which an area cannot be looked at."""


async def _within(limit: float, area: Area, checks: AsyncIterator[Finding]) -> list[Finding]:
    """Collect what is found in time; what was found before it ran out counts."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(limit):
            async for each in checks:
                found.append(each)  # noqa: PERF401 - a comprehension would lose what came before the end
    except TimeoutError:
        text = f"no answer within {limit:g} s; what follows in this area was not checked"
        found.append(Finding(area, area, "bad", text, "see whether it is overloaded or cut off"))
    except (SnapshotBackupError, OSError) as error:
        text = f"broken off: {error}"
        found.append(Finding(area, area, "bad", text, "run doctor again; what follows was not checked"))
    finally:
        if isinstance(checks, AsyncGenerator):
            await checks.aclose()
    return found


async def _skip(area: Area) -> list[Finding]:
    return [_skipped(area)]


def _skipped(area: Area) -> Finding:
    return Finding(area, area, "warning", "not checked: its settings are unusable", "mend the settings first")
