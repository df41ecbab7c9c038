"""Run tests on both event loops and both ways of a create call: neither may decide what becomes of a call."""

import asyncio

import pytest

from handler.worker import event_loop
from tests.unit.vbs import world
from tests.unit.vbs.wired import WiredClient


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``handler.worker.event_loop`` use this loop."""
    if request.param == "asyncio":
        monkeypatch.setattr(event_loop, "_new_loop", asyncio.new_event_loop)
    else:
        uvloop = pytest.importorskip("uvloop", reason="the extra `fast` is not installed")
        monkeypatch.setattr(event_loop, "_new_loop", uvloop.new_event_loop)


@pytest.fixture(params=["plain", "lean"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the servers of ``world`` be reached by httpx's requests, and by lean calls where they can be."""
    if request.param == "lean":
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
        monkeypatch.setattr(world, "make_client", WiredClient)
