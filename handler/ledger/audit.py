"""The audit journal: what operators did, kept in the ledger. Pure.

An act is written when it begins, and again when it ends. One without an end runs, or its program was killed.
"""

from typing import NamedTuple

MOST_ACTS = 10_000
"""So many acts of each queue are kept, the latest; and none longer than the ledger's retention."""


class Act(NamedTuple):
    """One act: who did what, about what, to how many, and how it ended.

    Times are seconds since the epoch; the store sets ``at`` when the act is new. ``number`` and ``outcome``
    are None until it has ended.
    """

    id: str
    who: str
    what: str
    about: str
    at: float = 0.0
    ended: float | None = None
    number: int | None = None
    outcome: str | None = None
