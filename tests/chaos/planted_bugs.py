"""T28: bugs that are planted on purpose, each with the test that must fail.

A bug changes one place in a copy of the tree. A test that passes with its bug planted proves nothing. Neither
does a bug that cannot be planted any more because the code has changed.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("events", "handler", "infra", "tests", "pyproject.toml")
PROCESS = "tests/unit/backup/test_process.py"
DOUBT = "tests/unit/backup/test_process_doubt.py"
BUGGY = "tests/unit/backup/test_process_bugs.py"
FAILED = 1
"""pytest's exit code if tests failed; any other code says nothing about the bug."""


@dataclass(frozen=True)
class Bug:
    """One bug: in ``file`` the text ``right`` becomes ``wrong``; ``caught_by`` is the id of the test."""

    file: str
    right: str
    wrong: str
    caught_by: str


BUGS: Mapping[str, Bug] = {
    "acknowledge early": Bug(
        "handler/worker/session.py",
        "            await self._handle_message(received)\n",
        "            delivery.ack()\n            await self._handle_message(received)\n",
        "tests/chaos/test_connection.py::test_a_call_that_outlasts_the_drain_is_left_in_doubt",
    ),
    "skip the look-up": Bug(
        "handler/backup/process.py",
        "if claim.doubt or claim.ask_first else None",
        "if claim.ask_first else None",
        f"{DOUBT}::test_a_lost_answer_is_found_and_not_sent_again",
    ),
    "send a full backup in place of an incremental one without a look-up": Bug(
        "handler/backup/process.py",
        "        found = await self._lookup.for_backup(job, claim)\n",
        "        found = None\n",
        "tests/unit/backup/test_incremental.py::test_a_falsified_refusal_makes_no_second_backup",
    ),
    "take a failed look-up for an absence": Bug(
        "handler/backup/lookup.py",
        "        except ApiError as error:\n"
        '            return await self.unknown(job, claim, error, "list")\n'
        "        backup = self._best(",
        "        except ApiError:\n            found = []\n        backup = self._best(",
        f"{DOUBT}::test_a_lookup_that_fails_is_no_absence",
    ),
    "no fsync": Bug(
        "handler/ledger/sqlite.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = OFF",
        "tests/chaos/test_durability.py::test_a_commit_is_on_disk",
    ),
    "ignore a refused publish": Bug(
        "handler/broker/publisher.py",
        "    if refused:\n",
        "    if refused and not pending:\n",
        "tests/chaos/test_connection.py::TestOwnBroker::test_a_refused_confirm_is_tried_again",
    ),
    "ignore a lost connection": Bug(
        "handler/backup/process.py",
        "            return await self._handle(received)\n"
        "        except ConnectionLost:\n            raise\n",
        "            return await self._handle(received)\n        except ConnectionLost:\n"
        '            return Result("waiting", received.original, received.state, EventIds())\n',
        f"{DOUBT}::test_a_lost_connection_leaves_the_message_to_the_broker",
    ),
    "never renew a lease": Bug(
        "handler/ledger/ledger.py",
        "for held in self._leases.all()",
        "for held in ()",
        "tests/conformance/ledger/test_ledgers.py::test_renewed_lease_holds",
    ),
    "let a second worker claim a leased snapshot": Bug(
        "handler/ledger/rules.py",
        "    if row.token is not None and now < row.lease_until:\n",
        "    if row.token is not None and now < 0:\n",
        "tests/unit/ledger/test_rules.py::test_claim_answers",
    ),
    "claim a pruned snapshot as one that was never known": Bug(
        "handler/ledger/sqlite_quick.py",
        "WHERE NOT EXISTS (SELECT 1 FROM ledger_tombstone WHERE id = ?)",
        "WHERE ? IS NOT NULL",
        "tests/conformance/ledger/test_ledgers.py::test_what_is_pruned_stays_pruned_twice",
    ),
    "lose what else is on record where a backup is created": Bug(
        "handler/ledger/sqlite_quick.py",
        " AND state = 'open' AND rest = '{{}}'",
        " AND state = 'open'",
        "tests/unit/ledger/test_quick.py::test_both_paths_give_the_same_rows_and_answers",
    ),
    "delete all old rows in one step": Bug(
        "handler/ledger/pruning.py",
        "min(fitting, 2 * self.rows, MOST_ROWS)",
        "min(fitting, 1_000 * self.rows)",
        "tests/unit/ledger/test_pruning.py::test_a_fast_disk_gets_steps_of_the_most_rows",
    ),
    "forget a backup that was made": Bug(
        "handler/backup/process.py",
        "        await services.ledger.created(claim, backup)\n",
        "        await services.ledger.release(claim)\n",
        f"{PROCESS}::test_a_duplicate_makes_no_second_call",
    ),
    "delay before the outcome is published": Bug(
        "handler/backup/replacement.py",
        "            result = await self._publish_outcome(result)\n",
        "            first = result._replace(dead_letter=None)\n"
        "            await self._delay_or_dead_letter(first, redelivered=redelivered)\n"
        "            result = await self._publish_outcome(result)\n",
        f"{DOUBT}::test_the_outcome_is_confirmed_before_the_wait",
    ),
    "keep x-death": Bug(
        "events/republish.py",
        "|x-death|",
        "|x-dearth|",
        f"{PROCESS}::test_a_dead_letter_makes_no_broker_act",
    ),
    "leave tokens in dead letters": Bug(
        "handler/backup/replacement.py",
        "await self._outbox.dead_letter(inert(result.original.blanked()), headers)",
        "await self._outbox.dead_letter(inert(result.original), headers)",
        f"{PROCESS}::test_tokens_of_old_notifications_are_blanked_in_a_dead_letter",
    ),
    "count attempts in an outage": Bug(
        "handler/backup/policy.py",
        'return Decision("wait", category, seen.scope, pause)',
        'return Decision("wait", category, seen.scope, pause, counted=True)',
        f"{PROCESS}::test_an_outage_burns_no_attempt",
    ),
    "reset the count of crashes at each delay": Bug(
        "handler/backup/result.py",
        "    state = job.state._replace(reason=reason, waits=job.state.waits + 1)\n",
        "    state = job.state._replace(reason=reason, waits=job.state.waits + 1, crashes=0)\n",
        f"{BUGGY}::test_a_poison_message_ends_wherever_it_crashes",
    ),
    "set the prefetch anew where it grows": Bug(
        "handler/broker/consumer.py",
        "            if prefetch < self.prefetch:\n                await self._stop()\n",
        "            if prefetch != self.prefetch:\n                await self._stop()\n",
        "tests/integration/test_consumer.py::test_a_prefetch_that_grows_counts_nothing_as_a_crash",
    ),
    "acknowledge before consuming is stopped": Bug(
        "handler/worker/session.py",
        "        if not self._breaker.limit:\n            await self._stop_consuming()\n",
        "        if not self._breaker.limit:\n            delivery.ack()\n"
        "            await self._stop_consuming()\n",
        "tests/integration/test_session.py::test_a_probe_is_acknowledged_once_consuming_has_stopped",
    ),
    "free the slot of a call in doubt": Bug(
        "handler/ledger/rules.py",
        "doubt=doubt, now=now, slot=_renewed(row, now))",
        "doubt=doubt, now=now, slot=None)",
        "tests/unit/backup/test_running.py::test_a_call_in_doubt_counts",
    ),
    "keep no slot for the project that is next": Bug(
        "handler/backup/running.py",
        "if self._free(limit) <= self._ahead(limit, room, project, now):",
        "if self._free(limit) <= 0:",
        "tests/unit/backup/test_running.py::test_a_slot_is_not_kept_for_a_message_that_does_not_come",
    ),
    "read the pause after the limit": Bug(
        "handler/worker/session.py",
        "            pause = self._breaker.pause_left()\n            await self._adjust()\n",
        "            await self._adjust()\n            pause = self._breaker.pause_left()\n",
        "tests/integration/test_session.py::test_a_pause_can_end_at_any_moment",
    ),
}

QUICK: Sequence[str] = ("skip the look-up", "forget a backup that was made", "count attempts in an outage")


def plant(bug: Bug, folder: Path) -> None:
    """Copy the tree into ``folder`` with the bug planted. Raises ``ValueError`` if its text is not found."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    place = folder / bug.file
    text = place.read_text()
    if text.count(bug.right) != 1:
        raise ValueError(
            f"{bug.file} has this text {text.count(bug.right)} times instead of once: {bug.right!r}"
        )
    place.write_text(text.replace(bug.right, bug.wrong))


def run_test(bug: Bug, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the bug's test in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", bug.caught_by]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
