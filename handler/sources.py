"""Where settings come from: the environment, ``.env`` and the files of ``SECRETS_DIR``, in this order.

All texts are cleaned in the same way. What is empty then is not set, in each of the sources: the next one is
asked. Every name is in capitals here; the sources may have it in small letters too.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Final, NamedTuple

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from handler.addresses import expanded
from handler.errors import SettingsError
from handler.values import clean, trimmed

ENVIRONMENT: Final = "environment"
DOTENV: Final = ".env"
SECRETS: Final = "SECRETS_DIR"

_NAME = re.compile(r"[A-Za-z_][\w./\[\]-]*", re.ASCII)
"""What a name in ``.env`` can be. A section, a key in YAML's form or another shell's command is none."""

_LARGEST = 1024 * 1024
"""Bytes of a file that is a setting's value."""


class Found(NamedTuple):
    """A variable that is set: its cleaned text, and where it comes from."""

    name: str
    text: str
    source: str


class Sources(NamedTuple):
    """The settings that were found, by name, and the other variables of the sources."""

    settings: Mapping[str, Found]
    others: Collection[Found]
    """Variables and files that are no settings; the text of such a file is not read."""


def read_sources(
    known: Collection[str], dotenv: Path | None, environment: Mapping[str, str] = os.environ
) -> Sources:
    """Read all sources; ``known`` are the settings' names. Raises ``SettingsError``."""
    settings: dict[str, Found] = {}
    others: list[Found] = []
    folder = clean(environment.get(SECRETS, ""))
    for found in (*_environment(environment), *_dotenv(dotenv), *_files(folder, known)):
        if found.name not in known:
            others.append(found)
        elif trimmed(found.text):
            settings.setdefault(found.name, found)
    return Sources(settings, others)


def _environment(environment: Mapping[str, str]) -> Iterator[Found]:
    for name, text in _capitals_first(environment):
        yield Found(name.upper(), clean(text or ""), ENVIRONMENT)


def _dotenv(path: Path | None) -> Iterator[Found]:
    """Yield what ``.env`` sets. A folder of that name, such as a virtual environment, is none."""
    if path is None or not _exists(path) or path.is_dir():
        return
    for name, text in _capitals_first(_parsed(path, _dotenv_text(path))):
        yield Found(name.upper(), clean(text or ""), DOTENV)


def _exists(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # the working folder cannot be searched
        return False


def _dotenv_text(path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise SettingsError(
                f"{path}: every user may write it, and so the settings; run: chmod o-w {path}"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(_unread(path, error)) from None
    except UnicodeDecodeError:
        raise SettingsError(
            f"{path}: is not UTF-8; save it as such, with lines such as LOG_LEVEL=INFO"
        ) from None


def _parsed(path: Path, text: str) -> Mapping[str, str | None]:
    bindings = list(parse_stream(StringIO(text)))
    for binding in bindings:
        if binding.error or not (binding.key is None or _NAME.fullmatch(binding.key)):
            raise SettingsError(
                f"{path}: line {binding.original.line} cannot be read; each is NAME=value, with quotes that "
                "end, such as LOG_LEVEL=INFO"
            )
    # A name alone, as of `export NAME` in a shell's file, sets nothing, and so takes nothing back.
    set_ = "".join(each.original.string for each in bindings if each.value is not None)
    return dotenv_values(stream=StringIO(set_))


def _files(folder: str, known: Collection[str]) -> Iterator[Found]:
    """Yield the files of ``SECRETS_DIR``. Links are followed, as Kubernetes makes them."""
    if not folder:
        return
    try:
        names = sorted(each.name for each in expanded(folder).iterdir())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path"
        raise SettingsError(
            f"{SECRETS}: {folder} is not a folder that can be read ({why}); name one, such as "
            f"{SECRETS}=/run/secrets"
        ) from None
    for name in sorted(names, key=str.isupper, reverse=True):
        path = expanded(folder) / name
        source = f"{SECRETS}/{name}"
        if name.upper() in known:
            yield Found(name.upper(), clean(_secret(path)), source)
        elif not name.startswith("."):
            yield Found(name.upper(), "", source)


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise SettingsError(
                f"{SECRETS}: {path} is larger than 1 MiB; a value is one line, such as s3cret"
            )
        return content.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{SECRETS}: {_unread(path, error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{SECRETS}: {path} is not UTF-8; save it as text, such as one line") from None


def _unread(path: Path, error: OSError) -> str:
    """Say why a file cannot be read, and what to do."""
    match error:
        case FileNotFoundError():
            return f"{path} is a link to a file that does not exist; make that file, or delete the link"
        case IsADirectoryError():
            return f"{path} is a folder; a value is a file with one line, such as s3cret"
        case PermissionError():
            return f"{path} cannot be read by this user; give it the right, such as by: chmod u+r {path}"
    return f"{path} cannot be read ({error.strerror}); it must be a file"


def _capitals_first(variables: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
    yield from sorted(variables.items(), key=lambda each: not each[0].isupper())
