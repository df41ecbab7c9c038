"""What is not installed, or not asked for, costs nothing and is named where it is missing."""

import subprocess
import sys

import pytest

from handler.errors import SettingsError
from handler.telemetry.telemetry import open_telemetry

NOT_ASKED_FOR = """
import sys
import handler.commands.worker
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
    """And on asyncio's own loop elsewhere."""
    assert whose == _run(RUNS.format(before=before))


def test_what_nobody_asked_for_is_not_imported() -> None:
    """Neither the metrics nor the tracing library."""
    assert "[]" == _run(NOT_ASKED_FOR)


def test_without_the_extra_the_metrics_say_what_to_install() -> None:
    """The probes work all the same."""
    assert "501 install the extra: pip install 'snapshot-backup[metrics]'" == _run(WITHOUT_METRICS)


def test_traces_without_the_extra_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for traces is told how to have them."""
    monkeypatch.setitem(sys.modules, "handler.telemetry.tracing", None)
    with pytest.raises(SettingsError, match=r"pip install 'snapshot-backup\[tracing\]'"):
        open_telemetry("q", {"OTEL_TRACES_EXPORTER": "console"})
