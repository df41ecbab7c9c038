"""Tests of what a cold start of the function imports; ``tests.bench.cold_start`` measures the cost."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NOT_IN_THE_BUNDLE = ("aiohappyeyeballs", "httptools", "rich", "uvloop")  # httpx imports rich if it can
NOT_FOR_A_FUNCTION = (
    "handler.cli", "handler.commands", "handler.ledger.sqlite", "handler.backup.rules",
    "handler.worker.session", "handler.vbs.auth.account", "handler.vbs.auth.agency",
    "handler.vbs.auth.aksk", "handler.vbs.auth.catalogue", "handler.vbs.auth.clouds",
    "handler.vbs.auth.options", "handler.vbs.auth.password", "yaml", "handler.worker.worker", "opentelemetry",
    "prometheus_client", "psycopg", "sqlite3", "tomllib", "typer",
)  # fmt: skip
ENTRY = "import handler.function"
ALL = "import handler.function.instance"


def python(code: str) -> str:
    """Run code in a new process without the packages that the bundle leaves out; return its output."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({NOT_IN_THE_BUNDLE!r}))\n"
    command = [sys.executable, "-c", blocked + code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_function_imports_only_what_it_works_with() -> None:
    """The function imports no command line, worker, metrics or optional module: each slows a cold start."""
    modules = python(f"{ALL}\nprint(*[name for name in sys.modules if sys.modules[name]])").split()

    assert "handler.backup.process" in modules
    assert [] == [name for name in NOT_FOR_A_FUNCTION if name in modules]


def test_the_entry_alone_imports_no_dependency() -> None:
    """The entry imports no dependency, so the initializer can report one that cannot be imported."""
    modules = python(f"{ENTRY}\nprint(*[name for name in sys.modules if sys.modules[name]])").split()

    assert [] == [name for name in ("httpx", "pika", "pydantic") if name in modules]


def test_garbage_collection_resumes_after_a_failed_initializer() -> None:
    """A failed initializer enables garbage collection again: the platform reuses the process."""
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
