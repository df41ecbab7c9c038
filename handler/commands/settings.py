"""``snapshot-backup settings``: each setting with its value, its source, its default and its meaning."""

import dataclasses
import os
import re
from collections.abc import Iterator

from rich.padding import Padding
from rich.text import Text

from handler.commands.common import AsJson, failing_plainly, print_json, warn
from handler.commands.console import console
from handler.meanings import GROUPS, default_of, otherwise, text_of
from handler.redaction import MASK, redacted
from handler.settings import NAMES, Loaded, holds_a_url, is_secret, load
from handler.sources import ENVIRONMENT, SECRETS
from handler.unknown_names import unknown_names

_DEFAULT = "default"
_LOGIN = re.compile(r"(?<=://)([^/?#@]*):([^/?#]*)@")


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it is printed."""

    name: str
    value: str
    source: str
    default: str
    meaning: str


def settings(as_json: AsJson = False) -> None:
    """Show each setting: its value, where it is from, its default, and its meaning.

    Secrets are masked. Values come from the environment, .env and the files in
    SECRETS_DIR, in this order. Names that look like settings and are none are
    listed below.
    """
    with failing_plainly():
        loaded = load()
    shown = list(_all(loaded))
    unknown = [*unknown_names(loaded.sources.others, NAMES)]
    if as_json:
        items = [dataclasses.asdict(each) for each in shown]
        print_json({"settings": items, "unknown": [each._asdict() for each in unknown]})
        return
    _print(shown)
    for each in unknown:
        warn(f"warning: {each}")


def _all(loaded: Loaded) -> Iterator[Shown]:
    for name, markdown in ((name, text) for group in GROUPS.values() for name, text in group.items()):
        meaning = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", markdown).replace("`", "")
        default = default_of(name) or otherwise(name)
        if name == SECRETS:
            folder = os.environ.get(SECRETS, "")
            yield Shown(name, folder, ENVIRONMENT if folder else _DEFAULT, default, meaning)
            continue
        found = loaded.sources.settings.get(name)
        value = _value(name, text_of(getattr(loaded.settings, name.lower()))) if found else default_of(name)
        yield Shown(name, value, found.source if found else _DEFAULT, default, meaning)


def _value(name: str, text: str) -> str:
    """Return a value without its secrets."""
    if holds_a_url(name):
        return redacted(_LOGIN.sub(rf"\1:{MASK}@", text))
    return MASK if is_secret(name) else redacted(text)


def _print(shown: list[Shown]) -> None:
    out = console()
    for each in shown:
        line = Text(f"{each.name}=", style="bold")
        line.append(each.value, style="" if each.source == _DEFAULT else "green")
        out.print(line, soft_wrap=True)
        for text, style in ((_origin(each), "dim"), (each.meaning, "")):
            out.print(Padding(Text(text, style=style), (0, 0, 0, 4)))


def _origin(each: Shown) -> str:
    if each.source == _DEFAULT:
        return _DEFAULT if each.value else "; ".join(filter(None, ("not set", each.default)))
    return f"{each.source}; default {each.default}" if each.default else each.source
