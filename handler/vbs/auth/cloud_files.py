"""Finds and reads the files of OpenStack's tools: ``clouds.yaml``, ``secure.yaml``, ``clouds-public.yaml``.

They are read as text: ``0123`` stays what it is, and no tag makes an object. What cannot be read is one line
that shows no part of the content, which has secrets.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from handler.errors import SettingsError
from handler.extras import needing

LARGEST: Final = 256 * 1024
"""Bytes of a file; a cloud needs less than one KiB."""

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_SYSTEM: Final = "/etc/openstack"


class CloudFile(NamedTuple):
    """A file that was read: its path, and what it holds under its one key."""

    path: Path
    clouds: Mapping[str, Any]


def read_first(stem: str, named: Path | None = None, *, key: str = "clouds") -> CloudFile | None:
    """Read the file ``named``, or else the first of this stem in the search path; None if there is none.

    Raises ``SettingsError`` if it cannot be used.
    """
    for path in (named,) if named else _candidates(stem):
        content = _content(path)
        if content is not None:
            return CloudFile(path, _clouds(path, content, key))
    return None


def search_path() -> tuple[Path, ...]:
    """Return the folders that are searched, as openstacksdk does."""
    home = Path(os.environ.get("SNAP_REAL_HOME") or _home() or "/nonexistent")
    own = os.environ.get("XDG_CONFIG_HOME", "")
    shared = os.environ.get("XDG_CONFIG_DIRS", "").split(":")
    folders = [
        Path.cwd(),
        *([Path(own) / "openstack"] if Path(own).is_absolute() else []),
        home / ".config" / "openstack",
        *(Path(each) / "openstack" for each in shared if Path(each).is_absolute()),
        *([] if any(shared) else [Path("/etc/xdg/openstack")]),
        Path(_SYSTEM),
    ]
    return tuple(dict.fromkeys(folders))


def _home() -> str | None:
    try:
        return str(Path.home())
    except RuntimeError:
        return None


def _candidates(stem: str) -> Iterator[Path]:
    for folder in search_path():
        for suffix in _SUFFIXES:
            yield folder / f"{stem}{suffix}"


def _content(path: Path) -> bytes | None:
    """Return what a file holds; None where there is no file, or none for this user."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        raise unusable(path, f"cannot be read ({error.strerror}); check its disk") from None
    if mode & stat.S_IWOTH:
        raise unusable(path, f"every user may write it, and so the sign-in; run: chmod o-w {path}")
    if len(content) > LARGEST:
        raise unusable(path, f"is larger than {LARGEST // 1024} KiB; keep only the clouds that are used")
    return content


def _clouds(path: Path, content: bytes, key: str) -> Mapping[str, Any]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise unusable(path, "is not UTF-8; save it as such") from None
    document = _json(path, text) if path.suffix == ".json" else _yaml(path, text)
    clouds = document.get(key) if isinstance(document, dict) else None
    if not isinstance(clouds, dict):
        raise unusable(
            path, f"has no mapping of clouds under the key {key}; it begins with a line such as {key}:"
        )
    return {str(name): cloud for name, cloud in clouds.items()}


def _json(path: Path, text: str) -> object:
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise unusable(path, f"is not JSON at line {error.lineno}; correct it there") from None
    except RecursionError:
        raise unusable(path, "is nested too deeply; a cloud has two levels") from None


def _yaml(path: Path, text: str) -> object:
    # Imported where it is used: most deployments have no such file, and a function has no time for it.
    with needing("clouds", "yaml"):
        import yaml

        from handler.vbs.auth.yaml_text import MOST_KEYS, TextLoader, TooMany
    try:
        # The loader is a safe one: it makes texts, lists and mappings only.
        return yaml.load(text, TextLoader)  # noqa: S506
    except TooMany:
        raise unusable(path, f"merges more than {MOST_KEYS} keys with <<; write them out") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" near line {mark.line + 1}" if mark else ""
        raise unusable(
            path, f"is not YAML{line}; correct it there: spaces and no tabs at the beginning, a: b"
        ) from None
    except (yaml.YAMLError, ValueError):
        raise unusable(path, "is not YAML: it has a character that YAML does not allow; remove it") from None
    except RecursionError:
        raise unusable(path, "is nested too deeply; a cloud has two levels") from None


def unusable(path: Path, problem: str) -> SettingsError:
    """Return the error about a file, for the setting that led to it."""
    return SettingsError(f"OS_CLOUD: {path}: {problem}; or name another file with OS_CLIENT_CONFIG_FILE")
