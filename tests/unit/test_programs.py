"""Which RabbitMQ of several on one machine a checkout takes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local import programs
from infra.local.programs import Programs, find_programs

NAMES = ("rabbitmq-server", "rabbitmqctl", "epmd")


def installed(folder: Path, names: tuple[str, ...] = NAMES) -> str:
    """Put programs of these names into a folder; return it."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say what is on PATH, which of it is the packages', and where the real scripts are."""

    def say(*, path: str, packaged: tuple[str, ...] = (), real: tuple[str, ...] = ()) -> None:
        monkeypatch.setenv("PATH", path)
        monkeypatch.setattr(programs, "PACKAGED", packaged)
        monkeypatch.setattr(programs, "FOLDERS", real)

    return say


def test_a_release_on_the_path_goes_before_the_machine_s(
    tmp_path: Path, folders: Callable[..., None]
) -> None:
    """Tests run on another release by putting it on PATH."""
    mine, real = installed(tmp_path / "mine"), installed(tmp_path / "real")
    folders(path=mine, real=(real,))

    assert Programs(*(f"{mine}/{name}" for name in NAMES)) == find_programs()


def test_the_packages_own_scripts_go_before_what_switches_the_user(
    tmp_path: Path, folders: Callable[..., None]
) -> None:
    """A script on PATH that switches to the user `rabbitmq` could not read a private folder."""
    sbin, real = installed(tmp_path / "sbin"), installed(tmp_path / "real", NAMES[:2])
    folders(path=sbin, packaged=(sbin,), real=(real,))

    assert Programs(f"{real}/rabbitmq-server", f"{real}/rabbitmqctl", f"{sbin}/epmd") == find_programs()


def test_a_part_that_is_missing(tmp_path: Path, folders: Callable[..., None]) -> None:
    """Without its control tool a server is of no use."""
    folders(path=installed(tmp_path / "mine", ("rabbitmq-server", "epmd")))

    assert None is find_programs()
