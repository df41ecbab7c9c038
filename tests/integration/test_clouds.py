"""A worker with three clouds over a real broker: one is down, one throttles, and the third is not slowed."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
import yaml

from handler import bootstrap
from handler.doctor.api import examine_api
from handler.doctor.findings import Finding
from handler.errors import SettingsError
from handler.settings import Settings
from infra.emulator.testing import Emulator
from infra.local.server import RabbitProcess
from tests.forks import running_emulator
from tests.integration.outcome_site import Site, site
from tests.twins.events import cloud_event

NAMES = ("north", "south", "west")
PROJECTS = {name: f"{number:032x}" for number, name in enumerate(NAMES, 1)}
DOWN = [{"route": "*", "effect": "status", "status": 503}]
THROTTLED = [
    {
        "route": "create",
        "effect": "status",
        "status": 429,
        "body": {"overLimit": {"code": 429, "message": "This request was rate-limited.", "retryAfter": "5"}},
        "headers": {"Retry-After": "5"},
    }
]


@dataclass
class Place:
    """Three clouds, and the site of a worker that is signed in to all of them."""

    clouds: dict[str, Emulator]
    site: Site

    def ask(self, name: str, first: int, count: int) -> None:
        """Publish events of one cloud's project."""
        for number in range(first, first + count):
            event: dict[str, Any] = cloud_event(number)
            event["data"]["project_id"] = PROJECTS[name]
            properties = pika.BasicProperties(delivery_mode=2)
            self.site.channel.basic_publish("", self.site.queue, json.dumps(event).encode(), properties)

    def seconds_until(self, name: str, count: int) -> float:
        """Wait until a cloud has so many backups; return the seconds since the call."""
        began = time.monotonic()
        self.site.until(lambda: self.clouds[name].count_backups() >= count)
        return time.monotonic() - began


@pytest.fixture
def place(
    own_broker: RabbitProcess, unique: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[Place]:
    """Yield a place without a worker."""
    with ExitStack() as stack:
        clouds = {
            name: stack.enter_context(running_emulator(auth="token", project_id=PROJECTS[name], settle=0.1))
            for name in NAMES
        }
        accounts = {
            name: {
                "auth": {
                    "auth_url": f"{cloud.url}/v3",
                    "username": "demo",
                    "password": "secret",
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                    "project_name": name,
                },
                "region_name": "RegionOne",
            }
            for name, cloud in clouds.items()
        }
        file = tmp_path / "clouds.yaml"
        file.write_text(yaml.safe_dump({"clouds": accounts}))
        values: dict[str, Any] = {
            "amqp_url": own_broker.url,
            "snapshot_exchange": f"{unique}.in",
            "snapshot_queue": unique,
            "result_exchange": f"{unique}.out",
            "result_unroutable": "ignore",
            "track_backups": False,
            "os_cloud": ",".join(NAMES),
            "os_client_config_file": str(file),
            "ledger_url": f"sqlite:///{tmp_path}/ledger.db",
            "http_address": "127.0.0.1:0",
            "wait_ladder": "2,10,60",
        }
        settings = Settings(_env_file=None, **values)
        yield Place(clouds, stack.enter_context(site(settings, caplog)))


def test_the_doctor_asks_each_cloud(place: Place) -> None:
    """Each finding names its cloud, and each cloud is asked in its own project."""
    place.clouds["south"].set_faults(DOWN)
    found = asyncio.run(_examined(place.site.settings))
    listed = {each.what: each.state for each in found if each.what.endswith("list of backups")}
    assert {"cloud north: list of backups": "ok", "cloud west: list of backups": "ok"} == listed
    assert ["bad"] == [each.state for each in found if each.what == "cloud south: sign-in"]


async def _examined(settings: Settings) -> list[Finding]:
    return [each async for each in examine_api(settings)]


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"vbs_endpoint": "https://vbs.example.com"}, "VBS_ENDPOINT"), ({"os_cloud": "north,north"}, "twice")],
)
def test_settings_that_fit_no_several_clouds_are_refused(
    place: Place, changed: dict[str, str], says: str
) -> None:
    """The error names the setting, at the start of a worker."""
    values = place.site.settings.model_dump(exclude_unset=True) | changed

    async def start() -> None:
        async with bootstrap.parts(Settings(_env_file=None, **values)):
            pass

    with pytest.raises(SettingsError, match=says):
        asyncio.run(start())


def test_each_event_goes_to_the_cloud_whose_project_it_names(place: Place) -> None:
    """Each cloud has the backups of its own project, and one of an unknown project is the first cloud's."""
    with place.site.worker():
        for first, name in enumerate(NAMES):
            place.ask(name, 100 * first, 20)
        for name in NAMES:
            place.seconds_until(name, 20)
        assert {20} == {cloud.count_backups() for cloud in place.clouds.values()}
        shown = json.loads(place.site.page("/readyz")[1])
        assert "north: closed, south: closed, west: closed" == shown["clouds"]
        assert 'cloud_state{cloud="west",state="closed"} 1.0' in place.site.page("/metrics")[1]


def seconds_of_the_third(place: Place, first: int, count: int) -> float:
    """Queue as many events of each cloud, start a worker, and return how long the third cloud's take.

    One event of the third cloud comes before, so that the start of the worker is not counted.
    """
    done = place.clouds["west"].count_backups()
    place.ask("west", first, 1)
    for number in range(first + 1, first + 1 + count):
        for offset, name in enumerate(NAMES):
            place.ask(name, number + 100_000 * offset, 1)
    with place.site.worker():
        place.seconds_until("west", done + 1)
        return place.seconds_until("west", done + 1 + count)


def test_a_cloud_that_is_down_and_one_that_throttles_do_not_slow_the_third(place: Place) -> None:
    """The third's events take as long among those of two failing clouds as among those of two that work."""
    count = 400
    fine = seconds_of_the_third(place, 0, count)
    for name in ("north", "south"):
        place.clouds[name].reset()
    place.clouds["north"].set_faults(DOWN)
    place.clouds["south"].set_faults(THROTTLED)
    failing = seconds_of_the_third(place, 10_000, count)
    text = f"{count} events of the third: {fine:.2f} s beside two that work, {failing:.2f} s, two that fail"
    print(text)
    assert (0, 0) == (place.clouds["north"].count_backups(), place.clouds["south"].count_backups())
    assert failing <= 2 * fine + 2.0, text
    with place.site.worker():
        place.site.until(lambda: "west: closed" in place.site.page("/readyz")[1])
        for name in ("north", "south"):
            place.clouds[name].clear_faults()
        for name in ("north", "south"):
            place.seconds_until(name, count)
    for cloud in place.clouds.values():
        ids = [each["snapshot_id"] for each in cloud.backups()]
        assert len(ids) == len({*ids})


def test_a_cloud_that_hangs_does_not_take_the_places_of_the_others(place: Place) -> None:
    """Its calls are never answered; more of its events than may be in hand are ahead of another cloud's."""
    place.clouds["north"].set_faults([{"route": "create", "effect": "hang"}])
    place.ask("west", 999, 1)  # the first message of a connection is handled alone
    place.ask("north", 0, 200)
    place.ask("west", 1000, 50)
    with place.site.worker():
        assert place.seconds_until("west", 51) < 20.0
        place.clouds["north"].clear_faults()


def test_a_cloud_whose_sign_in_is_down_at_the_start_stops_no_other(place: Place) -> None:
    """Its events wait until it has signed in; those of known projects go on at once."""
    place.clouds["north"].set_faults(DOWN)
    with place.site.worker():
        place.ask("north", 0, 5)
        place.ask("west", 100, 20)
        place.seconds_until("west", 20)
        assert 0 == place.clouds["south"].count_backups()
        place.clouds["north"].clear_faults()
        place.seconds_until("north", 5)
    assert (0, 20) == (place.clouds["south"].count_backups(), place.clouds["west"].count_backups())
