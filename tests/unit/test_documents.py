"""Links, samples, settings, commands and names in the documents are those of the project."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from typer.main import get_command

from events.decode import decode
from events.message import Message
from events.outcome import Category
from events.snapshot import SnapshotEvent
from handler.cli import app
from handler.meanings import GROUPS, table
from handler.settings import Settings
from tests.conftest import ROOT
from tests.documents import CODE, blocks
from tests.settings_names import NAMES, parse

LONGEST_README = 150
FOLDERS = ("events", "handler", "infra", "tests")
MAY_BE_NAMED = re.compile(r"(.*\.)?example\.(com|org)|127\.0\.0\.1|keepachangelog\.com|semver\.org|keda\.sh")
"""Hosts that documents name: examples, loopback, and sites that explain. No package index is among them."""

HOME = re.compile(r"(?<![\w.])/(home|root|tmp|Users)/")
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def _documents() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.md")


DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in _documents()}
EACH = pytest.mark.parametrize("name", sorted(DOCUMENTS))


class Row(NamedTuple):
    """A row of a table: the names in code spans of its first cell, and its other cells."""

    names: list[str]
    cells: list[str]


def rows(text: str) -> Iterator[Row]:
    """Yield the rows of all tables of a text."""
    for line in text.splitlines():
        if line.startswith("| ") and line.endswith("|"):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            yield Row(SPAN.findall(first), others)


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as the sites that render it make them."""
    titles = [re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(CODE.sub("", text))]
    return {title.replace(" ", "-") for title in titles}


@EACH
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    """A relative link names a file of the tree, and its anchor a heading of that file."""
    broken = []
    for target in LINK.findall(CODE.sub("", DOCUMENTS[name])):
        if urlsplit(target).scheme:
            continue
        path, _, anchor = unquote(target).partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            broken.append(target)
    assert [] == broken


def test_the_readme_is_short() -> None:
    """The README fits on a few screens, since newcomers read it first; details are beside the code."""
    assert len(DOCUMENTS["README.md"].splitlines()) <= LONGEST_README


@EACH
def test_a_document_names_no_package_index_and_no_path_of_a_machine(name: str) -> None:
    """A host in a document is an example, loopback, or one of the few sites that explain a format."""
    text = DOCUMENTS[name]
    hosts = {urlsplit(url).hostname or "" for url in re.findall(r"\bhttps?://[\w.:@-]+", text)}

    assert set() == {host for host in hosts if not MAY_BE_NAMED.fullmatch(host)}
    assert "index-url" not in text
    assert None is HOME.search(text)
    assert str(ROOT) not in text


def settings_rows() -> dict[str, str]:
    """Return each setting that a table of handler/README.md explains, with the cell of its default."""
    text = DOCUMENTS["handler/README.md"]
    section = text[text.index("\n## Settings\n") : text.index("\n### Proxies\n")]
    return {name: row.cells[0] for row in rows(section) for name in row.names}


def test_the_table_of_settings_has_every_setting_and_no_other() -> None:
    """The names in handler/README.md are the fields of ``Settings``, and ``SECRETS_DIR``."""
    assert NAMES == settings_rows().keys()


@pytest.mark.parametrize("section", GROUPS)
def test_the_tables_of_settings_are_made_of_the_model(section: str) -> None:
    """Each table in handler/README.md is what ``handler.meanings`` makes, as ``settings`` shows it."""
    text = DOCUMENTS["handler/README.md"].partition(f"\n### {section}\n")[2]

    assert table(section) == text[text.index("| variable |") :].partition("\n\n")[0]


@pytest.mark.parametrize("document", ["README.md", "handler/README.md"])
def test_the_defaults_in_the_tables_of_settings_are_those_of_the_program(document: str) -> None:
    """A default in a code span is parsed as a setting; a cell without one means that there is no default."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    every = ((name, row.cells[0]) for row in rows(DOCUMENTS[document]) for name in row.names)
    known = {name: cell for name, cell in every if name.lower() in defaults}
    differ = {}
    for name, cell in known.items():
        [default] = SPAN.findall(cell) or [None]
        told = getattr(parse({name: default}), name.lower()) if default else defaults[name.lower()]
        if told != defaults[name.lower()] or (default is None and told not in (None, ())):
            differ[name] = cell

    assert len(known) >= 10
    assert {} == differ


@EACH
def test_each_json_sample_parses(name: str) -> None:
    """Each JSON sample can be parsed, since readers copy samples unchanged."""
    for sample in blocks(DOCUMENTS[name], "json"):
        json.loads(sample)


@pytest.mark.parametrize("document", ["README.md", "events/README.md"])
def test_the_sample_event_is_decoded_by_the_program(document: str) -> None:
    """The program decodes the sample as the event of a completed snapshot."""
    [sample] = blocks(DOCUMENTS[document], "json")

    event = decode(Message(sample.encode(), "application/cloudevents+json"), max_bytes=10_000)

    assert isinstance(event, SnapshotEvent)
    assert ("snapshot.completed", "completed") == (event.type, event.proves)


COMMANDS: Any = get_command(app)


def walk(command: Any, *path: str) -> Iterator[str]:
    """Yield the names of all commands that are not groups."""
    if not hasattr(command, "list_commands"):
        yield " ".join(path)
        return
    for name in command.list_commands(None):
        yield from walk(command.get_command(None, name), *path, name)


def calls(text: str) -> Iterator[list[str]]:
    """Yield the words after ``snapshot-backup`` in code blocks and spans, up to the end of the command."""
    codes = [line for _, code in CODE.findall(text) for line in code.splitlines()]
    for code in [*codes, *SPAN.findall(CODE.sub("", text))]:
        for found in re.finditer(r"(?:^|[\s/$])snapshot-backup ((?:-|[a-z]).*)", code):
            yield shlex.split(re.split(r" #|[|;)]|&&", found[1])[0], posix=False)


def wrong(call: list[str]) -> str | None:
    """Return which command or option of a call does not exist, or None."""
    command = COMMANDS
    words = iter(call)
    for word in words:
        if word.startswith("-") or not hasattr(command, "list_commands"):
            words = iter([word, *words])
            break
        command = command.get_command(None, word)
        if command is None:
            return f"no command {word} in {call}"
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    unknown = [word for word in words if word.startswith("--") and word not in options]
    return f"no option {unknown[0]} in {call}" if unknown else None


@EACH
def test_each_command_in_a_document_exists(name: str) -> None:
    """The words after ``snapshot-backup`` are commands and options of the command line."""
    assert [] == [problem for call in calls(DOCUMENTS[name]) if (problem := wrong(call))]


def test_the_table_of_commands_has_every_command_and_its_options_exist() -> None:
    """The table in handler/README.md names each command of the command line, and no other."""
    text = DOCUMENTS["handler/README.md"]
    section = text[text.index("\n## Commands\n") : text.index("\n## Doctor\n")]
    named = [re.sub(r"[\[\]]", "", name).split() for row in rows(section) for name in row.names]
    every = set(walk(COMMANDS))

    assert [] == [problem for call in named if (problem := wrong(call))]
    assert every == {next(name for name in every if " ".join(call).startswith(name)) for call in named}


def test_the_table_of_categories_has_every_category() -> None:
    """The operator's guide explains each category of a dead letter."""
    text = DOCUMENTS["handler/dead_letters/README.md"]
    section = text[text.index("\n## Categories\n") : text.index("\n## Commands\n")]
    named = {name for row in rows(section) for name in row.names}

    assert set() == {category.value for category in Category} - named


@EACH
def test_each_path_and_module_in_a_document_exists(name: str) -> None:
    """Each path in a code span exists, and so does each module after ``python -m``."""
    spans = SPAN.findall(CODE.sub("", DOCUMENTS[name]))
    paths = [span.split()[0] for span in spans if re.match(rf"({'|'.join(FOLDERS)})/[\w/.-]*(\s|$)", span)]
    modules = [found for span in spans for found in re.findall(r"^python -m (tests[\w.]+)", span)]

    assert [] == [path for path in paths if not (ROOT / path).exists()]
    assert [] == [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()]


@EACH
def test_each_test_in_a_document_exists(name: str) -> None:
    """Each test that a document names can be found by its name."""
    named = {span for span in SPAN.findall(DOCUMENTS[name]) if re.fullmatch(r"test_\w+", span)}
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))

    assert set() == {test for test in named if f"def {test}(" not in tests}
