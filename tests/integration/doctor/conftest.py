"""A healthy broker, API and folder, in which each test plants one fault."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator.testing import Emulator, running_emulator
from infra.local.server import RabbitProcess
from tests.integration.doctor.looking import PROJECT, Look, Report, run


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Run an API without a sign-in."""
    with running_emulator() as running:
        yield running


@pytest.fixture
def look(
    own_broker: RabbitProcess,
    emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unique: str,
) -> Look:
    """Return a function that runs the doctor with a healthy broker, API and folder, and unique names."""
    settings = {
        "AMQP_URL": own_broker.url,
        "SNAPSHOT_EXCHANGE": f"{unique}.snapshots",
        "SNAPSHOT_QUEUE": unique,
        "RESULT_EXCHANGE": f"{unique}.backups",
        "WAIT_LADDER": "5,30",
        "VBS_ENDPOINT": emulator.url,
        "VBS_PROJECT_ID": PROJECT,
        "LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def looked(*, declare: bool = False, limit: float = 30.0, **changed: str) -> Report:
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        return run(declare=declare, limit=limit)

    return looked
