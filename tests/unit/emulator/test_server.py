"""Tests of the emulator as a program, and of its control calls."""

import signal
import subprocess
import sys

import httpx

from infra.emulator.settings import Settings
from infra.emulator.store import new_id
from infra.emulator.testing import running_emulator
from tests.unit.emulator.world import PROJECT, SNAPSHOT, VOLUME, World


def test_the_emulator_prints_its_url_and_stops_on_sigterm() -> None:
    """The emulator prints one line, nothing on standard error, and exits with 0."""
    command = [sys.executable, "-m", "infra.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        url = child.stdout.readline().removeprefix("listening on ").strip()
        assert 200 == httpx.get(f"{url}/v2/{PROJECT}/backups", trust_env=False).status_code
        child.send_signal(signal.SIGTERM)
        assert (0, "", "") == (child.wait(timeout=10), child.stdout.read(), child.stderr.read())


def test_a_port_in_use_ends_the_emulator_with_an_error() -> None:
    """If its port is in use, the emulator prints one line of error and exits with 1."""
    with running_emulator() as emulator:
        port = emulator.url.rpartition(":")[2]
        command = [sys.executable, "-m", "infra.emulator", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    advice = "give another --port (0 selects a free one) or --host"
    assert (1, f"cannot listen on 127.0.0.1:{port}: Address already in use; {advice}\n") == (
        ended.returncode,
        ended.stderr,
    )


def test_an_emulator_in_a_process_has_the_same_settings_as_in_a_thread() -> None:
    """``running_emulator`` passes its settings to the process as options."""
    with running_emulator(process=True, strict=True, quota_backups=0, seed=7) as emulator:
        emulator.declare_snapshots([{"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT}])
        backup = {"volume_id": VOLUME, "snapshot_id": SNAPSHOT}
        answer = httpx.post(f"{emulator.url}/v2/{PROJECT}/backups", json={"backup": backup}, trust_env=False)
        assert (413, "0") == (answer.status_code, answer.headers["Retry-After"])


def test_a_token_of_sixteen_thousand_characters_is_accepted() -> None:
    """A long token is accepted, since the vendor's tokens may have 16384 characters."""
    token = "t" * 16_384
    with running_emulator(auth="token", token=token) as emulator:
        url = f"{emulator.url}/v2/{PROJECT}/backups"
        answer = httpx.get(url, headers={"X-Auth-Token": token}, trust_env=False)
        assert (200, True) == (answer.status_code, "date" in answer.headers)


def test_each_backup_is_listed_with_its_request() -> None:
    """Each backup is listed with its request, even after it was deleted."""
    world = World()
    made = world.create(name="n").json()["backup"]["id"]
    world.clock.now += 60
    assert 202 == world.call("DELETE", f"/v2/{PROJECT}/backups/{made}").status_code
    [shown] = world.call("GET", "/_emulator/backups").json()
    assert (made, "deleted", True) == (shown["id"], shown["status"], shown["deleted"])
    assert {"volume_id": VOLUME, "snapshot_id": SNAPSHOT, "name": "n"} == shown["request"]["backup"]
    assert "2027-01-15T08:00:00.000000Z" == shown["time"]


def test_calls_are_counted_by_route_and_status() -> None:
    """API calls are counted by route and status; control calls of tests are not counted."""
    world = World()
    world.create()
    world.create()
    world.call("GET", f"/v2/{PROJECT}/backups/detail")
    world.call("GET", f"/v2/{PROJECT}/backups/none")
    world.call("GET", f"/v2/{PROJECT}/snapshots/{SNAPSHOT}")
    world.call("GET", "/favicon.ico")
    expected = {
        "create": {"202": 1, "400": 1},
        "list": {"200": 1},
        "show": {"404": 1},
        "snapshot": {"200": 1},
        "other": {"404": 1},
    }
    assert expected == world.call("GET", "/_emulator/stats").json()


def test_a_reset_of_a_strict_emulator_deletes_declared_volumes() -> None:
    """A declared volume is unknown after the reset."""
    world = World(Settings(strict=True, race=0))
    world.call(
        "POST", "/_emulator/snapshots", json={"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT}
    )
    world.call("POST", "/_emulator/reset")
    assert f"Volume {VOLUME} could not be found." in world.create().text


def test_a_reset_deletes_everything() -> None:
    """After a reset there are no backups, snapshots, faults or counts."""
    world = World()
    world.create()
    world.call("PUT", "/_emulator/faults", json=[{"effect": "status", "times": 0}])
    world.call("POST", "/_emulator/reset")
    shown = [
        world.call("GET", f"/_emulator/{name}").json() for name in ("backups", "snapshots", "faults", "stats")
    ]
    assert [[], [], [], {}] == shown


def test_the_most_backups_in_progress_are_counted() -> None:
    """The emulator counts how many backups were in progress at once, at most."""
    world = World(Settings(settle=10.0, race=0))

    for seconds in (0.0, 5.0, 5.0, 20.0):
        world.clock.now += seconds
        world.create(snapshot_id=new_id())

    assert {"backups": 4, "most_in_progress": 2} == world.call("GET", "/_emulator/counts").json()
