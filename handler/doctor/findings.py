"""The findings of the doctor, as data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Area = Literal["settings", "broker", "api", "clock", "ledger"]
State = Literal["ok", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    ``bad`` means that messages would be lost or blocked; a ``warning`` is worth knowing. ``text`` says what
    was found, ``remedy`` how to fix it (empty if there is nothing to fix). Neither contains a secret.
    """

    area: Area
    what: str
    state: State
    text: str
    remedy: str = ""


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 2 for unusable settings, 1 if messages would be lost or blocked, else 0."""
    bad = {finding.area for finding in findings if finding.state == "bad"}
    if "settings" in bad:
        return 2
    return 1 if bad else 0
