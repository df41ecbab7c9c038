"""`infra/local/setup.sh`, which `infra/up` and `infra/test` begin with: what it does to a user's files."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_environment_behind_a_link_is_left_alone(tmp_path: Path) -> None:
    """Where ``.venv`` is a link, the link gives way to a folder, and what it led to is not emptied."""
    checkout, others = tmp_path / "checkout", tmp_path / "others"
    (checkout / "infra" / "local").mkdir(parents=True)
    script = shutil.copy(ROOT / "infra" / "local" / "setup.sh", checkout / "infra" / "local")
    others.mkdir()
    (others / "theirs").touch()
    (checkout / ".venv").symlink_to(others)
    # It fails at the packages, which this checkout does not name.
    made = subprocess.run(["bash", "-euc", f". '{script}'"], capture_output=True, text=True, check=False)
    assert made.returncode, made.stderr
    assert (checkout / ".venv" / "bin" / "python").is_file(), made.stderr
    assert not (checkout / ".venv").is_symlink()
    assert (others / "theirs").exists()
