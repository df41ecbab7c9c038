"""The container image, built and run: needs a container engine and the base image."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.settings_names import program

TOP = Path(__file__).parents[2]
DOCKERFILE = TOP / "infra" / "docker" / "Dockerfile"
_DEFAULT = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
# PYTHON_IMAGE names another image with Python, pip and venv, if the usual one is not available.
BASE = os.environ.get("PYTHON_IMAGE") or (_DEFAULT[1] if _DEFAULT else "")
TAG = "snapshot-backup:under-test"

pytestmark = pytest.mark.timeout(900)


def _docker(*arguments: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    command = [program("docker"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Build the image from this checkout, and remove it after the tests."""
    if _docker("info").returncode != 0:
        pytest.skip("no container engine answers")
    if (
        _docker("image", "inspect", BASE).returncode != 0
        and _docker("pull", BASE, timeout=300).returncode != 0
    ):
        pytest.skip(f"{BASE} is not at hand and cannot be pulled")
    options = (
        "--network",
        "host",
        "--build-arg",
        f"PYTHON_IMAGE={BASE}",
        "--tag",
        TAG,
        "--file",
        str(DOCKERFILE),
    )
    built = _docker("build", *options, str(TOP), timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    yield TAG
    _docker("image", "rm", "--force", TAG)


def _run(image: str, *command: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    confined = ("--rm", "--network", "none", "--read-only", "--cap-drop", "ALL")
    return _docker("run", *confined, *options, image, *command)


def test_the_image_runs_its_command(image: str) -> None:
    """Without rights, network or a writable disk the command still answers."""
    told = _run(image, "--help")

    assert told.returncode == 0, told.stderr
    assert "worker" in told.stdout


def test_a_bad_setting_ends_the_worker_at_once(image: str) -> None:
    """The container stops with code 2 and a line that names the variable."""
    ended = _run(image, "worker", options=("--env", "CONCURRENCY=many"))

    assert ended.returncode == 2, ended.stderr
    assert "CONCURRENCY" in ended.stdout + ended.stderr


def test_the_worker_is_not_root(image: str) -> None:
    """The process has the image's user, and that user cannot change the program."""
    code = "import os; print(os.getuid(), os.access('/opt/venv/bin', os.W_OK))"
    shown = _run(image, "-c", code, options=("--entrypoint", "python"))

    assert shown.stdout.split() == ["10001", "False"]
