"""Fixtures of the chaos tests: an emulator, and sites with real workers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.emulator.testing import Emulator
from tests.chaos.site import DELAYS, Site
from tests.forks import running_emulator

MakeSite = Callable[..., Site]


@pytest.fixture
def emulator(seed: int) -> Iterator[Emulator]:
    """Run an emulator in its own process, whose random choices repeat with the seed."""
    with running_emulator(settle=0.2, seed=seed) as emulator:
        yield emulator


@pytest.fixture
def make_site(emulator: Emulator, tmp_path: Path, unique: str) -> Iterator[MakeSite]:
    """Make a site at a broker: ``make_site(url, delays=(1, 2, 4), SETTING="value")``."""
    with ExitStack() as stack:

        def make(amqp_url: str, *, delays: Sequence[int] = DELAYS, **settings: Any) -> Site:
            return stack.enter_context(Site(amqp_url, emulator, tmp_path, unique, settings, delays))

        yield make
