"""What a cold start of the function imports; ``tests.bench.cold_start`` measures what it costs."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOT_IN_THE_BUNDLE = ("aiohappyeyeballs", "httptools", "rich", "uvloop")  # httpx imports the last where it is
NOT_FOR_A_FUNCTION = (
    "handler.cli", "handler.commands", "handler.ledger.sqlite", "handler.backup.rules",
    "handler.worker.session", "handler.vbs.auth.agency", "handler.vbs.auth.aksk",
    "handler.vbs.auth.password", "handler.worker.worker", "opentelemetry",
    "prometheus_client", "psycopg", "sqlite3", "tomllib", "typer",
)  # fmt: skip
ENTRY = "import handler.function"
ALL = "import handler.function.instance"


def python(code: str) -> str:
    """Run code in a process of its own, in which what the bundle leaves out is missing; give its output."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({NOT_IN_THE_BUNDLE!r}))\n"
    command = [sys.executable, "-c", blocked + code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_function_imports_only_what_it_works_with() -> None:
    """Command line, worker, metrics, and what settings must ask for, would make each cold start longer."""
    modules = python(f"{ALL}\nprint(*[name for name in sys.modules if sys.modules[name]])").split()

    assert "handler.backup.process" in modules
    assert [] == [name for name in NOT_FOR_A_FUNCTION if name in modules]


def test_the_entry_alone_imports_no_dependency() -> None:
    """What is wrong with one is told by the initializer, not by a module that cannot be loaded."""
    modules = python(f"{ENTRY}\nprint(*[name for name in sys.modules if sys.modules[name]])").split()

    assert [] == [name for name in ("httpx", "pika", "pydantic") if name in modules]


def test_the_collector_runs_again_after_an_instance_that_could_not_be_made() -> None:
    """It rests during a cold start only; the platform goes on with the same process."""
    code = """
import gc
from handler.function import initializer
from handler.errors import SettingsError
class Context:
    getUserData = {}.get
try:
    initializer(Context)
except SettingsError:
    print(gc.isenabled())
"""

    assert "True" == python(code).strip()
