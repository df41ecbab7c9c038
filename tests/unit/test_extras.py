"""Optional packages: they are not imported unless a setting needs them, and errors name a missing extra."""

import subprocess
import sys

import pytest

from handler.errors import SettingsError
from handler.telemetry.telemetry import open_telemetry

NOT_ASKED_FOR = """
import sys
import handler.commands.one_worker
from handler.telemetry.telemetry import open_telemetry
open_telemetry("q", {})
print(sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "prometheus_client"}))
"""
WITHOUT_METRICS = """
import sys
sys.modules["prometheus_client"] = None
from handler.status.monitoring import _metrics
answer = _metrics(None, None)()
print(answer.status.value, answer.body.decode())
"""
RUNS = """
import sys
import {before}
from handler.worker import event_loop
async def whose():
    import asyncio
    return type(asyncio.get_running_loop()).__module__
print(event_loop.run(whose()))
"""


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("before", "whose"),
    [("sys", "uvloop"), ("sys; sys.modules['uvloop'] = None", "asyncio.unix_events")],
    ids=["installed", "not installed"],
)
def test_a_worker_runs_on_uvloop_where_it_is_installed(before: str, whose: str) -> None:
    """A worker runs on uvloop if it is installed, and otherwise on asyncio's own event loop."""
    assert whose == _run(RUNS.format(before=before))


def test_optional_libraries_are_not_imported_without_a_setting() -> None:
    """Without a setting that needs them, the metrics and tracing libraries are not imported."""
    assert "[]" == _run(NOT_ASKED_FOR)


def test_the_metrics_page_without_the_extra_says_what_to_install() -> None:
    """Without the extra ``metrics``, the metrics page answers 501 and names the install command."""
    assert "501 install the extra: pip install 'snapshot-backup[metrics]'" == _run(WITHOUT_METRICS)


def test_traces_without_the_extra_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If traces are configured without the extra ``tracing``, the error names the install command."""
    monkeypatch.setitem(sys.modules, "handler.telemetry.tracing", None)
    with pytest.raises(SettingsError, match=r"pip install 'snapshot-backup\[tracing\]'"):
        open_telemetry("q", {"OTEL_TRACES_EXPORTER": "console"})
