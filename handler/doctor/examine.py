"""Runs the checks of all areas concurrently, each within a time limit.

The checks change nothing: they publish no message that a consumer could receive, fetch none, declare nothing
unless asked, and attempt each sign-in once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from handler.doctor.account import examine_account
from handler.doctor.advice import examine_names, examine_settings, settings_finding
from handler.doctor.api import examine_api
from handler.doctor.broker import examine_broker
from handler.doctor.findings import Area, Finding
from handler.doctor.ledger import examine_ledger
from handler.errors import SettingsError, SnapshotBackupError
from handler.settings import load

LIMIT_SECONDS = 40.0
"""The time limit of each area."""


async def examine(*, declare: bool = False, limit: float = LIMIT_SECONDS) -> list[Finding]:
    """Check everything that the environment's settings name; ``declare`` declares the topology first.

    Raises nothing: a check that fails is a finding.
    """
    try:
        settings, sources = load()
    except SettingsError as error:
        return [
            *map(settings_finding, error.problems),
            *(_skipped(area) for area in ("broker", "api", "ledger")),
        ]
    found = [each async for each in examine_settings(settings)]
    found += examine_names(sources)
    found += examine_account(settings, sources)
    # A bad setting of one area must not prevent the checks of the others.
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
"""Parts of the names of the settings that each area needs; if one of them is bad, the area is not checked."""


async def _within(limit: float, area: Area, checks: AsyncIterator[Finding]) -> list[Finding]:
    """Collect the findings within the time limit; findings before a timeout are kept."""
    found: list[Finding] = []
    try:
        async with asyncio.timeout(limit):
            async for each in checks:
                found.append(each)  # noqa: PERF401 - a comprehension would lose what came before the end
    except TimeoutError:
        text = f"no answer within {limit:g} s; the rest of this area was not checked"
        found.append(
            Finding(area, area, "bad", text, "check whether the server is overloaded, or unreachable")
        )
    except (SnapshotBackupError, OSError) as error:
        text = f"check failed: {error}; the rest of this area was not checked"
        found.append(Finding(area, area, "bad", text, "run doctor again"))
    finally:
        if isinstance(checks, AsyncGenerator):
            await checks.aclose()
    return found


async def _skip(area: Area) -> list[Finding]:
    return [_skipped(area)]


def _skipped(area: Area) -> Finding:
    return Finding(area, area, "warning", "not checked: its settings are unusable", "fix the settings first")
