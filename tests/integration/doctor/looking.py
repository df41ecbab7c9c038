"""How the tests run the doctor, and what they ask of its findings."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handler.doctor.examine import examine
from handler.doctor.findings import Finding, exit_code

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"


@dataclass(frozen=True)
class Report:
    """All findings of one run."""

    findings: Sequence[Finding]

    @property
    def exit(self) -> int:
        """The command's exit code."""
        return exit_code(self.findings)

    @property
    def bad(self) -> list[Finding]:
        """What would lose or block messages."""
        return [each for each in self.findings if each.state == "bad"]

    def one(self, area: str, state: str, *words: str) -> Finding:
        """The one finding of this area and state whose text, name or remedy has all the words."""
        found = [
            each
            for each in self.findings
            if (each.area, each.state) == (area, state)
            and all(word in f"{each.what} {each.text} {each.remedy}" for word in words)
        ]
        assert len(found) == 1, f"{len(found)} of {area}, {state}, {words} in {list(self.findings)}"
        return found[0]


Look = Callable[..., Report]
"""Run the doctor under these settings, on top of the fixture's own."""


def run(*, declare: bool = False, limit: float = 30.0) -> Report:
    """Run it under the environment's settings."""
    return Report(asyncio.run(examine(declare=declare, limit=limit)))
