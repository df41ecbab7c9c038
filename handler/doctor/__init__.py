"""Is everything in place? What ``snapshot-backup doctor`` checks, and how each fault is mended.

Nothing is changed by looking: no message is published where anybody could receive it, none is fetched,
nothing is declared (unless asked), and no sign-in is tried twice.
"""

from handler.doctor.examine import examine
from handler.doctor.findings import Finding, exit_code

__all__ = ["Finding", "examine", "exit_code"]
