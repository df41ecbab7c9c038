"""What the doctor found, as data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Area = Literal["settings", "broker", "api", "clock", "ledger"]
State = Literal["ok", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``bad`` would lose or block messages; a ``warning`` is worth knowing. ``text`` says what was found,
    ``remedy`` how to mend it (empty where there is nothing to mend). No secret is in any of them.
    """

    area: Area
    what: str
    state: State
    text: str
    remedy: str = ""


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 2 for unusable settings, 1 where messages would be lost or blocked, else 0."""
    bad = {finding.area for finding in findings if finding.state == "bad"}
    if "settings" in bad:
        return 2
    return 1 if bad else 0
