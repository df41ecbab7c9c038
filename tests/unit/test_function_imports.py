"""What a cold start of the function imports, and what it costs."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_IN_THE_BUNDLE = ("aiohttp", "httpx_aiohttp", "rich")  # httpx imports the last where it is
NOT_FOR_A_FUNCTION = (
    "dotenv", "handler.cli", "handler.commands", "handler.ledger.sqlite", "handler.rules", "handler.shift",
    "handler.worker", "opentelemetry", "prometheus_client", "psycopg", "sqlite3", "tomllib", "typer",
)  # fmt: skip
DEPENDENCIES = "import pika, pydantic, httpx"
ENTRY = "import handler.function"
ALL = "import handler.function_instance"
REPEATS = 7


def python(code: str) -> str:
    """Run code in a process of its own, in which what the bundle leaves out is missing; give its output."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({NOT_IN_THE_BUNDLE!r}))\n"
    command = [sys.executable, "-c", blocked + code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_function_imports_only_what_it_works_with() -> None:
    """Command line, worker, metrics, and what settings must ask for, would make each cold start longer."""
    modules = python(f"{ALL}\nprint(*[name for name in sys.modules if sys.modules[name]])").split()

    assert "handler.process" in modules
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


def seconds(code: str) -> float:
    """The median time of a process that runs code."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        python(code)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@pytest.mark.bench
def test_cold_start_beside_its_dependencies(capsys: pytest.CaptureFixture[str]) -> None:
    """Print how long a cold start's imports take, in units of importing pika, pydantic and httpx alone."""
    unit = seconds(DEPENDENCIES)
    measured = {code: seconds(code) / unit for code in ("pass", ENTRY, ALL)}

    with capsys.disabled():
        print(f"\n{DEPENDENCIES}: {unit:.3f} s")
        for code, ratio in measured.items():
            print(f"{code}: {ratio:.2f} of that")
    assert measured[ENTRY] <= 1.3
