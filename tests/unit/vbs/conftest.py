"""Run tests on both event loops: whether a call is in doubt must not depend on the installed loop."""

import asyncio

import pytest

from handler.worker import event_loop


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``handler.worker.event_loop`` use this loop."""
    if request.param == "asyncio":
        monkeypatch.setattr(event_loop, "_new_loop", asyncio.new_event_loop)
    else:
        uvloop = pytest.importorskip("uvloop", reason="the extra `fast` is not installed")
        monkeypatch.setattr(event_loop, "_new_loop", uvloop.new_event_loop)
