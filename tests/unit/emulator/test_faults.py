"""Tests of faults over real sockets: what the caller sees, and whether the backup exists."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from infra.emulator.faults import Fault, FaultPlan
from infra.emulator.testing import Emulator, running_emulator
from tests.patience import patient
from tests.unit.emulator.world import PROJECT, SNAPSHOT, VOLUME, World


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    """Run one emulator for the module."""
    with running_emulator(settle=0.2) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    """Return the emulator after a reset."""
    running.reset()
    return running


def create(emulator: Emulator, timeout: float = 10) -> httpx.Response:
    """Make a create call."""
    backup = {"volume_id": VOLUME, "snapshot_id": SNAPSHOT, "name": "n"}
    url = f"{emulator.url}/v2/{PROJECT}/backups"
    return httpx.post(url, json={"backup": backup}, timeout=timeout, trust_env=False)


def fault(effect: str, **more: Any) -> dict[str, Any]:
    """Return a fault of the create call."""
    return {"route": "create", "effect": effect, **more}


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + patient(10)
    while not condition():
        assert time.monotonic() < deadline, "the condition was not true within 10 s"
        time.sleep(0.01)


def test_the_fault_status_answers_without_a_backup(emulator: Emulator) -> None:
    """The call gets the given status, body and headers, and no backup is created."""
    emulator.set_faults([fault("status", status=429, body={"x": 1}, headers={"Retry-After": "7"})])
    answer = create(emulator)
    assert (429, {"x": 1}, "7") == (answer.status_code, answer.json(), answer.headers["Retry-After"])
    assert [] == emulator.backups()


@pytest.mark.parametrize(("status", "name"), [(503, "serviceUnavailable"), (502, "computeFault")])
def test_the_fault_status_without_a_body_has_cinders_shape(
    emulator: Emulator, status: int, name: str
) -> None:
    """Without a given body, the answer has Cinder's error for the status."""
    emulator.set_faults([fault("status", status=status)])
    assert status == create(emulator).json()[name]["code"]


def test_a_text_as_body_is_sent_unchanged(emulator: Emulator) -> None:
    """A body that is text, such as a proxy's error page, is sent unchanged as HTML."""
    emulator.set_faults([fault("status", status=504, body="<html>late</html>")])
    answer = create(emulator)
    assert ("<html>late</html>", "text/html") == (
        answer.text,
        answer.headers["content-type"].partition(";")[0],
    )


def test_the_fault_raw_answers_byte_for_byte_after_the_work(emulator: Emulator) -> None:
    """The call gets the given bytes with the API's own body, and the backup is created."""
    template = "HTTP/1.1 299 Odd\r\nX: \xe9\r\nContent-Length: {length}\r\n\r\n{body}"
    emulator.set_faults([fault("raw", body=template)])
    answer = create(emulator)
    assert (299, b"\xe9") == (answer.status_code, answer.headers.raw[0][1])
    assert [answer.json()["backup"]["id"]] == [backup["id"] for backup in emulator.backups()]


def test_the_fault_delay_answers_late(emulator: Emulator) -> None:
    """The call gets the usual answer after the given seconds."""
    emulator.set_faults([fault("delay", seconds=0.2)])
    started = time.monotonic()
    assert 202 == create(emulator).status_code
    assert time.monotonic() - started >= 0.2


def test_the_fault_delay_creates_the_backup_after_the_callers_timeout(emulator: Emulator) -> None:
    """The emulator creates the backup although the caller's timeout has ended the call."""
    emulator.set_faults([fault("delay", seconds=0.3)])
    with pytest.raises(httpx.ReadTimeout):
        create(emulator, timeout=0.1)
    until(lambda: len(emulator.backups()) == 1)


@pytest.mark.parametrize(("effect", "made"), [("drop_before", 0), ("drop_after", 1)])
def test_the_drop_faults_close_the_connection_without_an_answer(
    emulator: Emulator, effect: str, made: int
) -> None:
    """The fault drop_after creates the backup, drop_before does not."""
    emulator.set_faults([fault(effect)])
    with pytest.raises(httpx.TransportError):
        create(emulator)
    assert made == len(emulator.backups())
    until(lambda: emulator.stats() == {"create": {"none": 1}})


def test_the_fault_hang_never_answers(emulator: Emulator) -> None:
    """The caller's timeout ends the call, and no backup is created."""
    emulator.set_faults([fault("hang")])
    with pytest.raises(httpx.ReadTimeout):
        create(emulator, timeout=0.1)
    until(lambda: emulator.stats() == {"create": {"none": 1}})
    assert [] == emulator.backups()


def test_the_fault_hang_with_seconds_closes_the_connection(emulator: Emulator) -> None:
    """The emulator closes the connection after the given seconds."""
    emulator.set_faults([fault("hang", seconds=0.1)])
    with pytest.raises(httpx.RemoteProtocolError):
        create(emulator)


def test_the_fault_garbage_truncates_the_answer_after_the_work(emulator: Emulator) -> None:
    """The answer is a 202 with half a body, and the backup exists."""
    emulator.set_faults([fault("garbage")])
    answer = create(emulator)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()
    assert (202, 1) == (answer.status_code, len(emulator.backups()))


def test_a_backup_whose_answer_was_lost_is_counted(emulator: Emulator) -> None:
    """A backup is counted and listed although the caller received no answer."""
    emulator.set_faults([fault("drop_after")])
    with pytest.raises(httpx.RemoteProtocolError):
        create(emulator)
    assert 1 == emulator.count_backups() == len(emulator.backups())


def test_the_fault_late_commit_creates_the_backup_after_closing_the_connection(emulator: Emulator) -> None:
    """No backup exists when the connection closes; the emulator creates it later."""
    emulator.set_faults([fault("late_commit", seconds=0.5)])
    with pytest.raises(httpx.TransportError):
        create(emulator)
    assert [] == emulator.backups()
    until(lambda: len(emulator.backups()) == 1)


def test_the_fault_fail_later_ends_the_backup_in_error() -> None:
    """The reason of the failed backup is truncated to 255 characters; its snapshot is available again."""
    world = World()
    world.call("PUT", "/_emulator/faults", json=[fault("fail_later", fail_reason="x" * 300, seconds=5)])
    path = f"/v2/{PROJECT}/backups/{world.create().json()['backup']['id']}"

    def shown() -> tuple[str, str | None]:
        backup = world.call("GET", path).json()["backup"]
        return backup["status"], backup["fail_reason"]

    assert ("creating", None) == shown()
    world.clock.now += 5
    assert ("error", "x" * 255) == shown()
    assert "available" == world.call("GET", "/_emulator/snapshots").json()[0]["status"]


def test_times_limits_how_often_a_fault_occurs(emulator: Emulator) -> None:
    """A fault with ``times=2`` fails two calls, and the third succeeds."""
    emulator.set_faults([fault("status", times=2)])
    assert [503, 503, 202] == [create(emulator).status_code for _ in range(3)]


def test_a_fault_affects_only_its_route(emulator: Emulator) -> None:
    """A fault of the list call does not affect the create call; a fault without a route does."""
    emulator.set_faults([{"route": "list", "effect": "status"}])
    assert 202 == create(emulator).status_code
    emulator.set_faults([{"effect": "status", "status": 500}])
    assert 500 == create(emulator).status_code


def test_clearing_removes_all_faults(emulator: Emulator) -> None:
    """After the faults are cleared a create call succeeds; faults never affect control calls."""
    emulator.set_faults([{"route": "*", "effect": "drop_before"}])
    emulator.clear_faults()
    assert 202 == create(emulator).status_code


@pytest.mark.parametrize(
    "wrong", [{"effect": "explode"}, {"effect": "status", "colour": 1}, {"effect": "delay", "seconds": -1}]
)
def test_an_invalid_fault_is_refused(emulator: Emulator, wrong: dict[str, object]) -> None:
    """An invalid fault is refused, since it would otherwise never occur, without an error."""
    with pytest.raises(ValueError, match="400"):
        emulator.set_faults([wrong])


def test_the_same_seed_gives_the_same_faults() -> None:
    """Equal seeds draw the same faults, about as many as the probability says."""

    def draws(seed: int) -> list[bool]:
        plan = FaultPlan(seed)
        plan.replace([Fault(effect="status", probability=0.3)])
        return [plan.draw("create") is not None for _ in range(1000)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert 250 < sum(draws(1)) < 350
