"""`infra/local/setup.sh`, which `infra/up` and `infra/test` run first: its actions and its output."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local.ready import wait_until

ROOT = Path(__file__).parents[2]
SECONDS = 100.0
NOBODY = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
NOT_KEPT = {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}

# A stand-in for uv: it records its arguments, and sleeps as long as the test sets.
UV = """#!/bin/sh
if [ "$1" != --version ]; then
  echo $$ "$@" >>"$0.calls"
  exec sleep "$UV_TAKES"
fi
"""

# Where uv installs, an environment needs no pip, which takes four seconds of CPU to make.
PYTHON = f"""#!/bin/sh
if [ "$2" = venv ]; then exec {sys.executable} "$@" --without-pip; fi
exec {sys.executable} "$@"
"""

# A stand-in for a python3 with pip: its environments record the variables of each call of pip install.
PYTHON_WITH_PIP = f"""#!/bin/sh
case "$*" in
  *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"pip install"*) env >>"$0.pip" ;;
  *) exec {sys.executable} "$@" ;;
esac
"""

PIP_SETTINGS = {
    ":env:.index-url": "https://variable.example.com/simple",
    "global.cert": "/etc/ssl/company.pem",
    "global.index-url": "https://file.example.com/simple",
    "global.proxy": "http://proxy.example.com:3128",
}
"""What ``pip config list`` prints."""
TAKEN_FROM_PIP = {
    "UV_INDEX_URL": "https://variable.example.com/simple",
    "UV_DEFAULT_INDEX": "",
    "SSL_CERT_FILE": "/etc/ssl/company.pem",
    "HTTPS_PROXY": "http://proxy.example.com:3128",
    "https_proxy": "",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the files of a checkout that the script reads."""
    folder = tmp_path / "checkout"
    (folder / "infra" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "infra" / "local" / "setup.sh", folder / "infra" / "local")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def uv(tmp_path: Path) -> Path:
    """Write a stand-in for uv into a folder of its own, beside a python3 without pip, and return its path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"uv": UV, "python3": PYTHON}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder / "uv"


@contextmanager
def started(checkout: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start the script as the leader of a process group, as a terminal does; kill it at the end."""
    script = str(checkout / "infra" / "local" / "setup.sh")
    with subprocess.Popen(
        ["bash", "-eu", script],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def path_with(uv: Path) -> str:
    """Return a PATH that has the stand-in first."""
    return os.pathsep.join([str(uv.parent), os.environ["PATH"]])


def calls(uv: Path) -> list[str]:
    """Return the recorded calls of the stand-in."""
    file = uv.with_name("uv.calls")
    return file.read_text().splitlines() if file.exists() else []


def test_an_environment_behind_a_link_is_left_alone(checkout: Path, tmp_path: Path, uv: Path) -> None:
    """If ``.venv`` is a link, the script replaces the link with a folder, and keeps the link's target."""
    others = tmp_path / "others"
    others.mkdir()
    (others / "theirs").touch()
    (checkout / ".venv").symlink_to(others)
    with started(checkout, {"PATH": path_with(uv), "UV_TAKES": "0"}) as process:
        _, error = process.communicate(timeout=SECONDS)
    assert 0 == process.returncode, error
    assert (checkout / ".venv" / "bin" / "python").is_file()
    assert not (checkout / ".venv").is_symlink()
    assert (others / "theirs").exists()


def test_a_long_step_says_that_it_still_runs(checkout: Path, uv: Path) -> None:
    """A long step prints a line at least every ten seconds; packages are installed by their hashes."""
    with started(checkout, {"PATH": path_with(uv), "UV_TAKES": "9"}) as process:
        _, error = process.communicate(timeout=SECONDS)
    assert 0 == process.returncode, error
    assert re.search(r"^… installing packages with uv \(8 s\)$", error, re.MULTILINE)
    packages, project = calls(uv)
    assert "--require-hashes -r requirements.lock" in packages
    assert "--no-deps --no-build-isolation -e ." in project


def test_an_interrupted_set_up_is_one_line(checkout: Path, uv: Path) -> None:
    """Ctrl-C ends the running step and prints one line, so that the next start begins again."""
    with started(checkout, {"PATH": path_with(uv), "UV_TAKES": "60"}) as process:
        assert process.stderr is not None
        assert wait_until(lambda: len(calls(uv)) == 1, seconds=SECONDS)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=SECONDS)
    lines = [line for line in error.splitlines() if not line.startswith(("Setting up", "…"))]
    assert 130 == process.returncode
    assert ["Interrupted: the environment is not complete; the next start makes it again."] == lines
    step = Path(f"/proc/{calls(uv)[0].split()[0]}")
    assert wait_until(lambda: not step.exists(), seconds=SECONDS), "it runs, or nobody has reaped it"
    assert not (checkout / ".venv" / "snapshot-backup-state").exists()


def test_a_second_set_up_waits_for_the_first(checkout: Path, uv: Path) -> None:
    """Of two at once, one makes the environment; the other waits for it, and finds it made."""
    environment = {"PATH": path_with(uv), "UV_TAKES": "2"}
    with started(checkout, environment) as first, started(checkout, environment) as second:
        errors = [process.communicate(timeout=SECONDS)[1] for process in (first, second)]
    assert (0, 0) == (first.returncode, second.returncode), errors
    assert 1 == "".join(errors).count("Setting up")
    assert 2 == len(calls(uv)), "one of the packages, one of the project"


def test_an_environment_of_another_python_is_made_again(checkout: Path, uv: Path) -> None:
    """If an upgrade of the system replaces the environment's Python, the next start makes it again."""
    made = []
    for version in (None, "(3, 9)", None):
        if version:
            python = checkout / ".venv" / "bin" / "python"
            python.unlink()
            python.write_text(f"#!/bin/sh\necho '{version}'\n")
            python.chmod(0o755)
        with started(checkout, {"PATH": path_with(uv), "UV_TAKES": "0"}) as process:
            _, error = process.communicate(timeout=SECONDS)
        assert 0 == process.returncode, error
        made.append("Setting up" in error)
    assert [True, True, False] == made


def test_pip_is_not_sent_elsewhere(checkout: Path, tmp_path: Path) -> None:
    """Where PIP_USER, PIP_TARGET, PIP_PREFIX or PIP_ROOT is set, pip installs into the environment."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"python3": PYTHON_WITH_PIP, "uv": "#!/bin/sh\nexit 1\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    elsewhere = dict.fromkeys(("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"), str(tmp_path)) | {"PIP_USER": "1"}
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    with started(checkout, {**elsewhere, "PATH": path}) as process:
        _, error = process.communicate(timeout=SECONDS)
    assert 0 == process.returncode, error
    seen = (checkout / ".venv" / "bin" / "python.pip").read_text().splitlines()
    assert ["PIP_USER=0"] * 3 == [line for line in seen if line.partition("=")[0] in elsewhere]


def test_uv_is_told_what_pips_files_say(checkout: Path, tmp_path: Path) -> None:
    """The index, certificates and proxy of pip's files reach uv; a variable goes before a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    listed = "\n".join(f"{name}='{value}'" for name, value in PIP_SETTINGS.items())
    python = PYTHON_WITH_PIP.replace('case "$*" in', f'case "$*" in\n  *"config list"*) echo "{listed}" ;;')
    for name, text in {
        "python3": python,
        "uv": '#!/bin/sh\n[ "$1" = --version ] || env >"$0.seen"\n',
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    with started(checkout, {"PATH": path} | dict.fromkeys(TAKEN_FROM_PIP, "")) as process:
        _, error = process.communicate(timeout=SECONDS)
    assert 0 == process.returncode, error
    seen = dict(line.split("=", 1) for line in (folder / "uv.seen").read_text().splitlines() if "=" in line)
    assert TAKEN_FROM_PIP == {name: seen[name] for name in TAKEN_FROM_PIP}


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write into every folder")
def test_a_checkout_of_somebody_else_is_one_line(checkout: Path) -> None:
    """If this user may not write into the checkout, one line says what to do, and nothing is made."""
    checkout.chmod(0o555)
    with started(checkout, {}) as process:
        _, error = process.communicate(timeout=SECONDS)
    assert 1 == process.returncode
    [line] = error.splitlines()
    assert line.startswith(f"{checkout} cannot be written by ")


def test_a_folder_that_cannot_be_written_is_named(checkout: Path, tmp_path: Path) -> None:
    """If the environment cannot be made, a sentence names its folder; no file is left in TMPDIR."""
    (checkout / ".venv").write_text("a file")
    (tmp_path / "temporary").mkdir()
    with started(checkout, {"TMPDIR": str(tmp_path / "temporary")}) as process:
        _, error = process.communicate(timeout=SECONDS)
    assert 1 == process.returncode
    assert f"{checkout}/.venv cannot be made" in error.splitlines()[-1]
    assert [] == list((tmp_path / "temporary").iterdir())


def test_an_index_out_of_reach_is_one_sentence(checkout: Path) -> None:
    """If the package index cannot be reached, one line names network, proxy and the index settings."""
    with started(checkout, {**NOBODY, **NOT_KEPT}) as process:
        _, error = process.communicate(timeout=SECONDS)
    last = [line for line in error.splitlines() if not line.startswith(("Setting up", "…"))]
    assert 1 == process.returncode
    assert 1 == len(last), error
    assert all(word in last[0] for word in ("network", "proxy", "PIP_INDEX_URL", "UV_INDEX_URL"))
