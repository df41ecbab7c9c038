"""Unit tests of ``find_programs``: which of several RabbitMQ installations it returns."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local import programs
from infra.local.programs import Programs, find_programs

NAMES = ("rabbitmq-server", "rabbitmqctl", "epmd")


def installed(folder: Path, names: tuple[str, ...] = NAMES) -> str:
    """Create programs of these names in a new folder, and return its path."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets PATH, the packages' folders on it, and the folders of the real scripts."""

    def set_folders(*, path: str, packaged: tuple[str, ...] = (), real: tuple[str, ...] = ()) -> None:
        monkeypatch.setenv("PATH", path)
        monkeypatch.setattr(programs, "PACKAGED", packaged)
        monkeypatch.setattr(programs, "FOLDERS", real)

    return set_folders


def test_a_release_on_the_path_goes_before_the_machine_s(
    tmp_path: Path, folders: Callable[..., None]
) -> None:
    """A release on PATH is found before the installed one, so that tests can run on another release."""
    mine, real = installed(tmp_path / "mine"), installed(tmp_path / "real")
    folders(path=mine, real=(real,))

    assert Programs(*(f"{mine}/{name}" for name in NAMES)) == find_programs()


def test_the_real_scripts_go_before_scripts_that_switch_the_user(
    tmp_path: Path, folders: Callable[..., None]
) -> None:
    """A script on PATH that switches to the user `rabbitmq` could not read a private folder."""
    sbin, real = installed(tmp_path / "sbin"), installed(tmp_path / "real", NAMES[:2])
    folders(path=sbin, packaged=(sbin,), real=(real,))

    assert Programs(f"{real}/rabbitmq-server", f"{real}/rabbitmqctl", f"{sbin}/epmd") == find_programs()


def test_an_incomplete_installation_is_not_found(tmp_path: Path, folders: Callable[..., None]) -> None:
    """A server without its control tool is not returned."""
    folders(path=installed(tmp_path / "mine", ("rabbitmq-server", "epmd")))

    assert None is find_programs()
