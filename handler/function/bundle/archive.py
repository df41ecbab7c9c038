"""Writing the ZIP: the same files give the same bytes, so that a deployment changes only if they do."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handler import output_file
from handler.errors import SnapshotBackupError

MAX_PACKED: Final = 40 * 1024 * 1024
"""Bytes of a ZIP that FunctionGraph's console takes; by way of OBS it may have 300 MB."""
MAX_UNPACKED: Final = 1536 * 1024 * 1024
"""Bytes of code that a function may have: 1.5 GB."""

_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_MODE = 0o100644 << 16


class TooLarge(SnapshotBackupError):
    """The platform would refuse the bundle."""


@dataclass(frozen=True, slots=True)
class Written:
    """A bundle that was written: sizes in bytes, and the SHA-256 of the file in hex.

    ``compiled`` says how many of the ``files`` are bytecode.
    """

    file: str
    zip_bytes: int
    unpacked_bytes: int
    files: int
    compiled: int
    sha256: str


def write(path: Path, files: Mapping[str, bytes]) -> Written:
    """Write the bundle. Raises ``TooLarge``, or ``OSError``; then there is no file, or the one before."""
    packed = pack(files)
    unpacked = sum(map(len, files.values()))
    _check("packed", len(packed), MAX_PACKED)
    _check("unpacked", unpacked, MAX_UNPACKED)
    output_file.write(path, packed)
    compiled = sum(name.endswith(".pyc") for name in files)
    return Written(str(path), len(packed), unpacked, len(files), compiled, hashlib.sha256(packed).hexdigest())


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the ZIP's bytes: names sorted, one time and one mode for all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _MODE
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def _check(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the bundle has {size} bytes {what}, and FunctionGraph takes {limit}")
