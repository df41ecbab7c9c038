"""Wrong usage of the command line: exit code 2, nothing on standard output, and what would be right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.commands.common import to_json
from handler.dead_letters.dead_letter import CATEGORIES

UUID = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line, and return exit code, standard output and standard error."""
    done = CliRunner().invoke(
        app, arguments, prog_name="snapshot-backup", env={"AMQP_URL": "amqp://127.0.0.1:1"}
    )
    return done.exit_code, done.stdout, done.stderr


WRONG = [
    ("dead-letters list --category qouta", "--category", "Did you mean quota?"),
    ("dead-letters list --category QUOTA", "--category", "Did you mean quota?"),
    ("dead-letters list --category not-found", "--category", "Did you mean not_found?"),
    ("dead-letters drop --category xyz", "--category", "It is one of malformed, invalid,"),
    ("dead-letters list --since yesterday", "--since", "such as 2026-11-23T22:00, or an age such as 90m"),
    ("dead-letters list --since 999999d", "--since", "is not a time"),
    ("dead-letters list --since 2999-01-01", "--since", "is in the future"),
    ("dead-letters list --until 1h30m", "--until", "is not a time"),
    ("dead-letters list --since 1h --until 2h", "--until", "2h is not later than since (1h)"),
    ("report --since 2999-01-01", "--since", "in the future: it is 20"),
    ("report --since yesterday", "--since", "such as 2026-11-23T22:00, or an age such as 90m"),
    ("report --until 2d", "--until", "2d is not later than since (24h)"),
    ("report --by catgory", "--by", "Did you mean category?"),
    ("report --format jsn", "--format", "Did you mean json?"),
    ("report --json --format csv", "--format", "csv is not JSON"),
    ("waiting list --reason pausd", "--reason", "Did you mean paused or pause?"),
    ("waiting retry-now --reason Lookup", "--reason", "Did you mean lookup?"),
    ("concurrency defualt", "N", "Did you mean default?"),
    ("concurrency 0", "N", "a number from 1 to 2000"),
    ("dead-letters list --since=", "--since", "is not a time"),
    ("dead-letters list --limit -1", "--limit", "must be at least 0"),
    ("dead-letters list --limit 1.5", "--limit", "must be a whole number"),
    ("dead-letters list --project a/b", "--project", "is not a project's ID"),
    ("dead-letters list --snapshot 123", "--snapshot", "is not a UUID, such as"),
    ("dead-letters list --id b7d05a1e", "--id", "is not an ID of 12 hex digits"),
    ("dead-letters list --code=", "--code", "is empty"),
    ("dead-letters show zzz", "ID", "is not an ID of 12 hex digits"),
    ("dead-letters replay --rate 0", "--rate", "must be at least 0.001"),
    ("dead-letters replay --rate nan", "--rate", "must be at least 0.001"),
    ("dead-letters replay --rate inf", "--rate", "inf is not a number"),
    ("dead-letters replay --stop-at 20", "--stop-at", "such as 20%"),
    ("dead-letters replay --stop-at 100%", "--stop-at", "below 100"),
    ("dead-letters replay --from missing.jsonl", "--from", "does not exist"),
    ("dead-letters export --out .", "--out", "exists already"),
    ("dead-letters export --out -", "--out", "- is not the name of a file"),
    ("dead-letters drop --out missing/new.jsonl", "--out", "missing is not a folder"),
    ("publish --volume-id 12", "--volume-id", "is not a UUID, such as"),
    (f"publish --volume-id {UUID} --snapshot-id {{{UUID}}}", "--snapshot-id", "is not a UUID"),
    (
        f"publish --volume-id {UUID} --snapshot-id {UUID} --project-id a.b",
        "--project-id",
        "letters, digits, _",
    ),
    (f"publish --volume-id {UUID}", "--snapshot-id", "give either"),
    ("publish --file missing.jsonl", "--file", "does not exist"),
    ("publish --file .", "--file", "is a folder"),
    ("publish --file - --name x", "--file", "nothing else"),
    ("watch --count 0", "--count", "must be at least 1"),
    ("ledger prune --older-than x", "--older-than", "must be a number"),
    ("ledger prune --older-than inf", "--older-than", "inf is not a number"),
    ("package --out f.zip --with postgre", "--with", "is not one of postgres. Did you mean postgres?"),
    ("package --out missing/f.zip", "--out", "its folder does not exist"),
    ("package", "--out", "Missing option"),
    ("schemas", "--out", "Missing option"),
    ("emulator --port 99999", "--port", "must be at most 65535"),
    ("emulator --rules pag", "--rules", "is not one of page, cinder. Did you mean page?"),
    ("emulator --announce 127.0.0.1", "--announce", "is not an AMQP URL, such as amqp://guest"),
    ("emulator --announce-to snapshots", "--announce-to", "such as snapshots:snapshot.completed"),
    ("emulator --path volume", "--path", "is not a path, such as /volume"),
    ("emulator --auth tokn", "--auth", "Did you mean token?"),
    ("emulator --quota-backups -2", "--quota-backups", "must be at least -1"),
    ("waiting list --format json", "--format", "Did you mean --json?"),
    ("watch -n 3", "-n", "Did you mean --count?"),
    ("dead-letters export --output x", "--output", "Did you mean --out or --json?"),
    ("ledger prune --older-than 30d", "--older-than", "must be a number, such as 10"),
    ("dead-letters list --categry quota", "--categry", "Did you mean --category?"),
    ("publish --volume_id x", "--volume_id", "Did you mean --volume-id"),
    ("doctor --version", "--version", "It stands alone: snapshot-backup --version"),
    ("--json doctor", "--json", "come after it: snapshot-backup doctor --json"),
    ("doctor -json", "-json", "Did you mean --json?"),
    ("-help", "-help", "Did you mean --help?"),
    ("help", "help", "Did you mean --help?"),
    ("version", "version", "Did you mean --version?"),
    ("docter", "docter", "Did you mean doctor?"),
    ("emulatr", "emulatr", "Did you mean emulator?"),
    ("replay", "replay", "Did you mean dead-letters replay?"),
    ("dead_letters list", "dead_letters", "Did you mean dead-letters?"),
    ("topology decalre", "decalre", "Did you mean declare?"),
    ("doctor now", "now", "unexpected extra argument"),
]


@pytest.mark.parametrize(("line", "named", "advice"), WRONG, ids=[line for line, _, _ in WRONG])
def test_wrong_usage_is_named_with_advice(
    line: str, named: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage exits with 2; the error names the option or the word, and says what would be right."""
    monkeypatch.chdir(tmp_path)
    code, out, error = run(*line.split(" "))

    assert (2, "") == (code, out), error
    assert named in error
    assert advice in error
    assert "Traceback" not in error
    assert "Input should" not in error


def test_a_name_that_the_locale_does_not_have_is_named_with_advice() -> None:
    """Python decodes an argument's bytes to surrogates where the locale has no such character."""
    ids = ("--volume-id", UUID, "--snapshot-id", UUID, "--project-id", "p")
    code, _, error = run("publish", *ids, "--name", os.fsdecode(b"B\xfcro"))

    assert 2 == code
    assert "--name" in error
    assert "LC_ALL=C.UTF-8" in error


def test_a_completion_that_cannot_be_installed_is_one_line(tmp_path: Path) -> None:
    """If the shell's own file cannot be written, the line names it, and what to add by hand."""
    (tmp_path / "file").touch()
    command = (
        f"'{sys.executable}' -m handler --install-completion; true"  # true: so that bash stays its parent
    )
    home = str(tmp_path / "file" / "home")
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "HOME": home}, capture_output=True, text=True, check=False
    )

    [line] = done.stderr.splitlines()
    assert line.startswith(f"failed: {home}")
    assert 'eval "$(snapshot-backup --show-completion)"' in line


@pytest.mark.parametrize("line", ["dead-letters list --reason quota", "emulator --json"])
def test_an_option_that_is_like_no_other_gets_no_suggestion(line: str) -> None:
    """A word with a few letters in common is not what was meant."""
    assert "Did you mean" not in run(*line.split())[2]


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_category_is_accepted(category: str) -> None:
    """Each category that a dead letter can have is a valid value; the closed port is the only failure."""
    code, _, error = run("dead-letters", "list", "--category", category)

    assert 1 == code
    assert "Connection refused" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ("--project", "8D2C4B6A-1F3E-4D5C-9B7A-60F1E2D3C4B5"),
        ("--snapshot", UUID.upper()),
        ("--snapshot", UUID.replace("-", "")),
        ("--id", "3F6C0D9A41B2"),
        ("--since", "2026-01-02T03:04:05Z", "--until", "2026-01-02T04:04:05+00:30"),
        ("--limit", "0"),
    ],
)
def test_another_spelling_of_a_value_is_accepted(arguments: tuple[str, ...]) -> None:
    """Case, dashes and time zones may be spelled as in other programs."""
    assert 1 == run("dead-letters", "list", *arguments)[0]


def test_a_group_without_a_command_prints_its_help() -> None:
    """A group without a command prints its commands, and exits with 2."""
    code, _, error = run("topology")

    assert 2 == code
    assert "declare" in error


def test_the_version_and_the_help_are_no_errors() -> None:
    """``--version`` and ``--help`` print to standard output and exit with 0."""
    assert (0, "snapshot-backup 0.1.0\n", "") == run("--version")
    assert 0 == run("--help")[0]


@pytest.mark.parametrize("name", ["topology show", "schemas --out new"])
def test_json_is_one_document_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json, standard output is one JSON document."""
    monkeypatch.chdir(tmp_path)
    code, out, error = run(*name.split(), "--json")

    assert (0, "") == (code, error)
    assert json.loads(out)


@pytest.mark.parametrize(
    "document",
    [
        {"name": "快照 \x9b31m \u202e \ud800"},
        {"times": [float("nan"), 1.5]},
        {"nested": ({"x": float("inf")},)},
    ],
)
def test_json_is_ascii_and_has_no_nan(document: object) -> None:
    """What is printed as JSON is valid JSON for any parser, in any encoding."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = to_json(document)

    assert text.isascii()
    assert document.keys() == json.loads(text, parse_constant=refuse).keys()  # type: ignore[attr-defined]
