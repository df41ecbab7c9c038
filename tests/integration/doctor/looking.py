"""Runs the doctor in tests, and selects its findings."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handler.doctor.examine import examine
from handler.doctor.findings import Finding, exit_code

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"


@dataclass(frozen=True)
class Report:
    """The findings of one run."""

    findings: Sequence[Finding]

    @property
    def exit(self) -> int:
        """The command's exit code."""
        return exit_code(self.findings)

    @property
    def bad(self) -> list[Finding]:
        """The findings that are bad."""
        return [each for each in self.findings if each.state == "bad"]

    def one(self, area: str, state: str, *words: str) -> Finding:
        """Return the only finding of this area and state that contains all the words."""
        found = [
            each
            for each in self.findings
            if (each.area, each.state) == (area, state)
            and all(word in f"{each.what} {each.text} {each.remedy}" for word in words)
        ]
        assert len(found) == 1, f"{len(found)} of {area}, {state}, {words} in {list(self.findings)}"
        return found[0]


Look = Callable[..., Report]
"""Runs the doctor with these settings, in addition to those of the fixture."""


def run(*, declare: bool = False, limit: float = 30.0) -> Report:
    """Run the doctor with the environment's settings."""
    return Report(asyncio.run(examine(declare=declare, limit=limit)))
