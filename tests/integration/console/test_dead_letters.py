"""Dead letters through the console: what is shown, what acts do, and that looking loses nothing."""

import contextlib
import random
import signal
import time
import uuid
from typing import Any

import httpx
import pytest

from handler.console.jobs import Jobs
from handler.console.orders import NO_CODE
from handler.console.web.app import create_app
from handler.console.web.site import Site, make_site
from infra.emulator.testing import running_emulator
from infra.local.ready import wait_until
from tests.console_browser import HOSTILE, SECONDS, Browser, Elements, browsing, injected
from tests.integration.console.running import resident_megabytes, running_console
from tests.integration.dead_letters.place import PROJECT, Place, Raw, dead_headers, event

pytestmark = pytest.mark.broker
LOOK = "/api/dead-letters"
KINDS = [("quota", "VolumeBackup.0061"), ("not_found", "404")]
COUNTS = ("x-delivery-count", "x-acquired-count")
"""Headers in which the broker counts deliveries."""


def fill(place: Place, count: int = 6) -> list[Raw]:
    """Dead-letter events of two categories by turns, and return them as they are in the queue."""
    found = [
        (event(number, volume_id=str(uuid.UUID(int=number))), dead_headers(number, *KINDS[number % 2]))
        for number in range(count)
    ]
    place.dead_letter(found)
    return found


def taken(place: Place) -> list[Raw]:
    """Take all dead letters, without the broker's own counts."""
    return [
        (body, {name: value for name, value in headers.items() if name not in COUNTS})
        for body, headers in place.take(place.topology.dead)
    ]


def test_the_list_has_groups_with_remedies_and_the_selected_ones(place: Place, console: Browser) -> None:
    """The list counts by category and code, says what to do, and keeps to the selection."""
    fill(place)
    everything = console.json(LOOK)
    quota = console.json(f"{LOOK}?categories=quota&limit=2")
    one = console.json(f"{LOOK}/{quota['dead_letters'][0]['id']}")

    assert {("quota", 3, "make room, replay"), ("not_found", 3, "drop")} == {
        (group["category"], group["count"], group["remedy"]) for group in everything["groups"]
    }
    assert (2, {"quota"}) == (quota["total"], {each["category"] for each in quota["dead_letters"]})
    assert (PROJECT, "event-0") == (one["project_id"], one["event_id"])
    assert event(0, volume_id=str(uuid.UUID(int=0))).decode() == one["body"]


def test_a_group_without_a_code_is_selected_alone(place: Place, console: Browser) -> None:
    """The group of a category without a code does not select those of the category with one."""
    headers = dead_headers(0, "not_found", "404")
    without = {name: value for name, value in headers.items() if name != "dl-code"}
    place.dead_letter([(event(0), headers), (event(1), {**without, "dl-event-id": "event-1"})])
    found = console.json(f"{LOOK}?categories=not_found&codes={NO_CODE}")

    assert ["event-1"] == [each["event_id"] for each in found["dead_letters"]]


def test_a_dry_run_changes_nothing(place: Place, console: Browser) -> None:
    """A dry run of a replay or a drop counts what it selects, and leaves the queue as it is."""
    before = fill(place)
    counted = [
        console.json(f"{LOOK}/{act}", {"categories": ["quota"], "dry_run": True})["total"]
        for act in ("replay", "drop")
    ]
    pages = [console.get(f"/dead-letters/preview?act={act}&codes=404") for act in ("replay", "drop")]

    assert [3, 3] == counted
    assert all("Nothing has been done yet" in page.text for page in pages)
    assert before == taken(place)


def test_a_group_is_replayed_and_a_worker_makes_its_backups(place: Place, console: Browser) -> None:
    """A replay of one group sends only that back, and the job counts the outcomes."""
    fill(place)
    with running_emulator(settle=0.0) as emulator:
        place.settings.update(VBS_ENDPOINT=emulator.url, VBS_AUTH="none", RESULT_UNROUTABLE="ignore")
        with place.worker():
            place.until(lambda: console.json("/api/overview")["queues"]["consumers"] > 0)
            job = console.job(f"{LOOK}/replay", {"categories": ["quota"], "stop_at": 50})
            assert wait_until(lambda: emulator.count_backups() == 3, seconds=SECONDS)
    left = console.json(LOOK)

    assert (3, "done") == (job["done"], job["end"])
    assert (3, 3, 0) == (job["accepted"], job["completed"], job["failed_again"])
    assert [("not_found", 3)] == [(group["category"], group["count"]) for group in left["groups"]]


def test_what_came_after_the_dry_run_is_not_acted_on(place: Place, console: Browser) -> None:
    """The form of a dry run acts on as many as it has shown, the oldest."""
    fill(place)
    token = console.csrf_token("/dead-letters/preview?act=drop&categories=quota")
    place.dead_letter([(event(9), dead_headers(9, *KINDS[0]))])
    answer = console.post("/dead-letters/drop", csrf_token=token, categories="quota", all="true", limit="3")
    _ended(console)

    assert (303, "/jobs/") == (answer.status_code, answer.headers["location"][:6])
    assert [9, 1, 3, 5] == sorted((int(headers["own"]) for _, headers in taken(place)), key=lambda n: n != 9)


def test_a_drop_exports_first_and_the_export_can_be_downloaded(place: Place, console: Browser) -> None:
    """What is dropped is in a file that only its owner can read, and can be fetched from the job."""
    fill(place)
    job = console.job(f"{LOOK}/drop", {"categories": ["not_found"]})
    [file] = place.folder.glob("dead-letters-*.jsonl")
    export = console.get(f"/jobs/{job['id']}/export")

    assert (3, file.name) == (job["done"], job["file"])
    assert 0o600 == file.stat().st_mode & 0o777
    assert file.read_bytes() == export.content
    assert "attachment" in export.headers["content-disposition"]
    assert 3 == place.count(place.topology.dead)
    assert 3 == place.json("replay", "--from", str(file), "--dry-run")["would_replay"]


def _ended(console: Browser) -> Any:
    """Wait for the end of the latest job."""
    while (job := console.json("/api/jobs")["jobs"][0])["state"] == "running":
        console.pause()
    return job


def _later(site: Site) -> Jobs:
    """The jobs of a console that was started later in the same folder."""
    jobs = Jobs(site.settings, site.ledger, site.looks, site.audit)
    jobs.folder = site.jobs.folder
    return jobs


def test_an_undo_puts_back_what_was_dropped_as_it_was(place: Place, console: Browser, site: Site) -> None:
    """Bodies, headers and ids are as before; a second undo adds nothing.

    A console that was started later undoes it by the id of the drop.
    """
    before = fill(place)
    routed = {
        "CC": [place.topology.queue],
        "x-death": [{"reason": "delivery_limit", "queue": "q", "count": 1}],
    }
    place.dead_letter([(b"\xff of another program", routed)])
    listed = console.json(LOOK)["dead_letters"]
    drop = console.job(f"{LOOK}/drop", {"all": True})
    with_token = console.csrf_token(f"/jobs/{drop['id']}")
    console.post(f"/jobs/{drop['id']}/undo", csrf_token=with_token)
    undo = _ended(console)
    with browsing(create_app(make_site(site.settings)._replace(jobs=_later(site)))) as later:
        again = later.job(f"/api/jobs/{drop['id']}/undo", {})
    found = console.json(LOOK)["dead_letters"]
    queue = taken(place)

    assert ("undo", "done", 7, 0) == (undo["kind"], undo["end"], undo["done"], undo["already_there"])
    assert ("done", 0, 7) == (again["end"], again["done"], again["already_there"])
    assert listed == found
    assert before == queue[:6]
    assert (b"\xff of another program", "delivery_limit") == (queue[6][0], found[6]["category"])
    assert 1 == place.count(place.topology.queue)  # the copy of the first publish, and none of the undo


def test_what_has_exported_nothing_cannot_be_undone(place: Place, console: Browser) -> None:
    """A drop of nothing, a replay and an unknown job have no export: 404, and nothing is started."""
    fill(place)
    jobs = [console.job(f"{LOOK}/{act}", {"categories": ["none"]})["id"] for act in ("drop", "replay")]
    answers = [console.ask("POST", f"/api/jobs/{id_}/undo", json={}) for id_ in (*jobs, "0" * 12, "*")]

    assert [404] * 4 == [answer.status_code for answer in answers]
    assert 2 == len(console.json("/api/jobs")["jobs"])


def test_a_drop_whose_export_cannot_be_written_removes_nothing(
    place: Place, console: Browser, site: Site
) -> None:
    """Where the folder cannot be written, the job fails with the reason, and all stay."""
    fill(place)
    site.jobs.folder = place.folder / "a file"
    site.jobs.folder.touch()
    job = console.job(f"{LOOK}/drop", {"all": True})

    assert ("failed", 0, None) == (job["state"], job["done"], job["file"])
    assert "Not a directory" in job["end"]
    assert 6 == place.count(place.topology.dead)


def test_a_second_job_is_refused_while_one_runs_and_a_stop_ends_it(place: Place, console: Browser) -> None:
    """One replay runs at a time; stopped, it leaves the rest in the queue."""
    fill(place, count=50)
    slow = {"all": True, "rate": 1}
    job = console.json(f"{LOOK}/replay", slow)
    second = console.ask("POST", f"{LOOK}/drop", json={"all": True})
    console.json(f"/api/jobs/{job['id']}/stop", {})
    while (ended := console.json(f"/api/jobs/{job['id']}"))["state"] == "running":
        console.pause()

    assert (409, True) == (second.status_code, job["id"] in second.json()["error"])
    assert ("ended", "stopped") == (ended["state"], ended["end"])
    assert 50 == place.count(place.topology.dead) + place.count(place.topology.queue)


def test_hostile_dead_letters_stay_texts(place: Place, console: Browser) -> None:
    """Whatever is in headers and body of a dead letter, no page gets an element or an attribute of it."""
    hostile = [name.replace("\x00", "") for name in HOSTILE]
    names = ("category", "code", "message", "event-id", "project-id", "volume-id", "snapshot-id")
    place.dead_letter([(text.encode(), {f"dl-{name}": text for name in names}) for text in hostile])
    listed = console.json(LOOK)
    pages = [console.get("/dead-letters"), console.get("/dead-letters/preview?act=drop")]
    pages += [console.get(f"/dead-letters/{each['id']}") for each in listed["dead_letters"]]
    pages += [console.get("/dead-letters", params={"categories": text, "codes": text}) for text in hostile]
    pages += [console.get("/")]

    assert len(hostile) == listed["total"]
    assert [[]] * len(pages) == [injected(page.text) for page in pages]
    assert {200} == {page.status_code for page in pages}
    assert all(hostile[0] in Elements(page.text).text for page in pages[:3])


def test_the_overview_counts_queues_and_dead_letters(place: Place, console: Browser) -> None:
    """The overview has the counts of the queues, and looks at the dead letters beside it."""
    fill(place)
    with place.channel() as channel:
        channel.basic_publish("", place.topology.queue, b"{}")
    place.until(lambda: place.count(place.topology.queue) == 1)
    found = console.json("/api/overview")
    place.until(lambda: bool(console.json("/api/overview")["dead_letters"]["groups"]))

    assert (1, 0, 6) == tuple(found["queues"][name] for name in ("ready", "consumers", "dead"))
    assert "no consumer" in console.get("/").text
    place.until(lambda: place.count(place.topology.dead) == 6)


def test_a_look_does_not_wait_for_another_command(place: Place, console: Browser) -> None:
    """While another command reads the dead letters, the page says so at once, and so does the API."""
    fill(place)
    with place.channel() as channel:
        channel.queue_declare(f"{place.topology.dead}.lock", exclusive=True)
        page, api = console.get("/dead-letters"), console.get(LOOK)

    assert "another command reads the dead letters now" in page.text
    assert (503, True) == (api.status_code, "another command" in api.json()["error"])


def test_looks_lose_nothing_beside_a_worker(place: Place, console: Browser) -> None:
    """After 50 looks while a worker runs, order, bodies and headers of the dead letters are as before."""
    before = fill(place, count=300)
    place.settings.update(VBS_ENDPOINT="http://127.0.0.1:1", VBS_AUTH="none")
    with place.worker():
        for number in range(25):  # each with another limit, or the look before would be shown again
            console.json(f"{LOOK}?limit={number + 201}")
            console.json(f"{LOOK}?limit={number + 1}")

    assert before == taken(place)


def test_a_console_that_is_killed_while_it_looks_loses_nothing(place: Place, rng: random.Random) -> None:
    """SIGKILL in the middle of a look leaves every dead letter in the queue, with its body and headers."""
    before = fill(place, count=3000)
    with running_console(place) as console:
        with contextlib.suppress(httpx.TimeoutException):
            console.client.get(LOOK, timeout=0.01)  # the answer is not awaited
        place.until(lambda: place.count(place.topology.dead) < len(before))  # the look holds some
        time.sleep(rng.uniform(0, 0.2))  # the random moment is the experiment
        console.process.send_signal(signal.SIGKILL)
        console.process.wait()
    place.until(lambda: place.count(place.topology.dead) == len(before))

    # A quorum queue returns each batch whole, but the batches of a killed reader in any order.
    assert before == sorted(taken(place), key=lambda raw: int(raw[1]["own"]))


def test_the_memory_of_the_console_stays_bounded(place: Place) -> None:
    """After looks at thousands of dead letters the console holds less than 150 MB."""
    fill(place, count=5_000)
    with running_console(place) as console:
        for number in range(2):
            for path in (f"{LOOK}?limit={5_000 + number}", "/dead-letters", "/"):
                assert console.client.get(path).is_success
        megabytes = resident_megabytes(console.process.pid)
    print(f"\nthe console holds {megabytes:.0f} MB")

    assert megabytes < 150
