"""The requirements of `pyproject.toml`, compared with the lock files."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

TOP = Path(__file__).parents[2]
BUILD = "infra/docker/build.lock"
"""What builds the project in the image; the environment of the checkout has it among the others."""
LOCKS = (
    "requirements.lock",
    "infra/docker/requirements.lock",
    "handler/function/bundle/function.lock",
    "handler/function/bundle/function-postgres.lock",
)


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock file by package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (TOP / name).read_text(encoding="utf-8"), re.MULTILINE))


def asked_for() -> dict[str, SpecifierSet]:
    """Return the required versions by package, those of the extras included."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    return {requirement.name: requirement.specifier for requirement in requirements}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_holds_only_versions_that_the_project_asks_for(name: str) -> None:
    """Each locked version is one that `pyproject.toml` allows, so that all installations have the same."""
    versions, specifiers = locked(name), asked_for()

    assert {"pika", "httpx"} <= versions.keys()
    assert [] == [
        f"{package} {version}"
        for package, version in versions.items()
        if package in specifiers and not specifiers[package].contains(version, prereleases=True)
    ]


@pytest.mark.parametrize("version", ["1.5.0rc1", "1.5.0", "2.0.0"])
def test_a_pika_that_deprecates_the_blocking_connection_is_not_allowed(version: str) -> None:
    """The project allows no pika that deprecates ``BlockingConnection``: its warning would fail tests."""
    assert not asked_for()["pika"].contains(version, prereleases=True)


@pytest.mark.parametrize("name", [*LOCKS, BUILD])
def test_a_lock_file_has_a_hash_for_each_package_and_names_no_index(name: str) -> None:
    """Each locked package has a hash, and no lock file names an index, since machines use different ones."""
    text = re.sub(r"^#.*\n", "", (TOP / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]

    assert "://" not in text
    assert "index" not in text
    assert [] == [entry for entry in packages if "--hash=sha256:" not in entry]


def test_every_package_that_the_project_asks_for_is_locked() -> None:
    """The lock file has each package that the project and its extras require."""
    assert set() == asked_for().keys() - locked(LOCKS[0]).keys() - {"snapshot-backup"}


def test_the_image_is_built_by_the_version_that_builds_the_checkout() -> None:
    """The image's build has the builder of pyproject.toml, in the version of the checkout's lock file."""
    system = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    builders = {Requirement(text).name for text in system["requires"]}
    versions = locked(LOCKS[0])

    assert locked(BUILD) == {name: versions[name] for name in builders}


def test_the_set_up_builds_without_fetching_a_builder() -> None:
    """Each command that installs the project itself uses the locked builder."""
    text = (TOP / "infra" / "local" / "setup.sh").read_text(encoding="utf-8")
    commands = re.findall(r"with_(?:uv|pip) (.*-e \.)", text)

    assert len(commands) == 2
    assert [] == [command for command in commands if "--no-deps --no-build-isolation" not in command]
