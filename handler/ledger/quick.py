"""The quick path of the ledger: the usual changes of an event, each one statement that reads nothing first.

A reader can skip this module. A quick change is made only where its statement proves what the rules would
decide, and it then leaves the row, the journal and the sums that they would write. Everywhere else it changes
nothing, and the rules decide. A property test holds both paths to the same rows and answers.
"""

import json
from typing import Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from events.outcome import AcceptedBackup
from handler.backup.ports import Finished, Granted, Key

T_co = TypeVar("T_co", covariant=True)
_BACKUP = TypeAdapter(AcceptedBackup)
_END = TypeAdapter(Finished)


class FirstClaim(NamedTuple):
    """A claim of a snapshot that the ledger does not know, neither by a row nor by a tombstone."""

    key: Key
    token: str
    lease: float


class FirstBackup(NamedTuple):
    """The backup of a snapshot that has nothing else on record than the claim with this token."""

    key: Key
    token: str
    backup: AcceptedBackup


class FirstEnd(NamedTuple):
    """The completion of the backup that is the only thing on record of its snapshot."""

    key: Key
    backup_id: str
    end: Finished


QuickChange = FirstClaim | FirstBackup | FirstEnd


class Quick(NamedTuple, Generic[T_co]):
    """A quick change, and what the rules would answer where it is made."""

    change: QuickChange
    answer: T_co


def first_claim(key: Key, token: str, lease: float, *, replay: bool) -> Quick[Granted]:
    """Return the quick change of a claim."""
    return Quick(FirstClaim(key, token, lease), Granted(key, token, ask_first=replay))


def first_backup(claim: Granted, backup: AcceptedBackup) -> Quick[None]:
    """Return the quick change that records a backup; the answer: no other backup is known."""
    return Quick(FirstBackup(claim.key, claim.token, backup), None)


def first_end(key: Key, end: Finished, backup_id: str) -> Quick[None] | None:
    """Return the quick change that records an end; None for a failure, which the rules record."""
    return Quick(FirstEnd(key, backup_id, end), None) if end.failure is None else None


# A row's JSON has its fields in one order: doubt, backup, made_at, end, and then what else may be on record.
# So a text that begins with the backup and ends with made_at has nothing but these two.
MADE_AT = '"made_at":'
NUMBER = "0123456789.e+-}"
"""The characters of a number that ends a JSON object."""


def made_rest(change: FirstBackup) -> str:
    """Return the JSON of a row that has nothing but this backup, without ``made_at`` and the last brace."""
    backup = _BACKUP.dump_json(change.backup, exclude_defaults=True, by_alias=True, ensure_ascii=True)
    return f'{{"backup":{backup.decode()},{MADE_AT}'


def made_start(change: FirstEnd) -> str:
    """Return how the JSON of a row begins that has this backup and no doubt."""
    return f'{{"backup":{{"id":{json.dumps(change.backup_id)}'


def end_rest(change: FirstEnd) -> str:
    """Return what replaces the last brace of a row's JSON where the backup has ended."""
    end = _END.dump_json(change.end, exclude_defaults=True, by_alias=True, ensure_ascii=True)
    return f',"end":{end.decode()}}}'
