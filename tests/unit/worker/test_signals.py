"""The signals that stop a worker: the second ends it at once, unless a supervisor is there to do so."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal
from handler.worker.worker import stop_on_signals

async def main():
    stop = asyncio.Event()
    with stop_on_signals(stop, second_ends={second_ends}):
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.1)

asyncio.run(main())
"""


@pytest.mark.parametrize(("second_ends", "code"), [(True, -signal.SIGTERM), (False, 0)])
def test_a_second_signal_ends_only_a_worker_without_a_supervisor(second_ends: bool, code: int) -> None:
    """Systemd and terminals signal each process of a supervisor, and the supervisor signals them too."""
    program = PROGRAM.format(second_ends=second_ends)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert code == done.returncode, done.stderr
