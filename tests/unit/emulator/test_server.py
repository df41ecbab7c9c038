"""The emulator as a program, and what tests see of it."""

import signal
import subprocess
import sys

import httpx

from infra.emulator.settings import Settings
from infra.emulator.testing import running_emulator
from tests.unit.emulator.world import PROJECT, SNAPSHOT, VOLUME, World


def test_it_says_where_it_listens_and_ends_on_sigterm() -> None:
    """One line on standard output, exit code 0, nothing on standard error."""
    command = [sys.executable, "-m", "infra.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        url = child.stdout.readline().removeprefix("listening on ").strip()
        assert 200 == httpx.get(f"{url}/v2/{PROJECT}/backups", trust_env=False).status_code
        child.send_signal(signal.SIGTERM)
        assert (0, "", "") == (child.wait(timeout=10), child.stdout.read(), child.stderr.read())


def test_a_port_in_use_ends_it_with_a_sentence() -> None:
    """Exit code 1, no traceback."""
    with running_emulator() as emulator:
        port = emulator.url.rpartition(":")[2]
        command = [sys.executable, "-m", "infra.emulator", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (1, f"cannot listen on 127.0.0.1:{port}: Address already in use\n") == (
        ended.returncode,
        ended.stderr,
    )


def test_a_process_takes_the_same_settings_as_a_thread() -> None:
    """Settings reach the program as options."""
    with running_emulator(process=True, strict=True, quota_backups=0, seed=7) as emulator:
        emulator.declare_snapshots([{"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT}])
        backup = {"volume_id": VOLUME, "snapshot_id": SNAPSHOT}
        answer = httpx.post(f"{emulator.url}/v2/{PROJECT}/backups", json={"backup": backup}, trust_env=False)
        assert (413, "0") == (answer.status_code, answer.headers["Retry-After"])


def test_a_token_of_sixteen_thousand_characters_fits() -> None:
    """As long as the vendor's may be."""
    token = "t" * 16_384
    with running_emulator(auth="token", token=token) as emulator:
        url = f"{emulator.url}/v2/{PROJECT}/backups"
        answer = httpx.get(url, headers={"X-Auth-Token": token}, trust_env=False)
        assert (200, True) == (answer.status_code, "date" in answer.headers)


def test_every_backup_ever_made_is_told_with_its_request() -> None:
    """A deleted one too."""
    world = World()
    made = world.create(name="n").json()["backup"]["id"]
    world.clock.now += 60
    assert 202 == world.call("DELETE", f"/v2/{PROJECT}/backups/{made}").status_code
    [told] = world.call("GET", "/_emulator/backups").json()
    assert (made, "deleted", True) == (told["id"], told["status"], told["deleted"])
    assert {"volume_id": VOLUME, "snapshot_id": SNAPSHOT, "name": "n"} == told["request"]["backup"]
    assert "2027-01-15T08:00:00.000000Z" == told["time"]


def test_calls_are_counted_by_route_and_status() -> None:
    """Those of tests are not."""
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


def test_a_strict_emulator_forgets_volumes_too() -> None:
    """After a reset what was declared is unknown again."""
    world = World(Settings(strict=True, race=0))
    world.call(
        "POST", "/_emulator/snapshots", json={"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT}
    )
    world.call("POST", "/_emulator/reset")
    assert f"Volume {VOLUME} could not be found." in world.create().text


def test_reset_forgets_everything() -> None:
    """Backups, snapshots, faults and counts."""
    world = World()
    world.create()
    world.call("PUT", "/_emulator/faults", json=[{"effect": "status", "times": 0}])
    world.call("POST", "/_emulator/reset")
    told = [
        world.call("GET", f"/_emulator/{name}").json() for name in ("backups", "snapshots", "faults", "stats")
    ]
    assert [[], [], [], {}] == told
