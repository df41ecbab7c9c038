"""Faults of the API's settings, its sign-in and the clock, against servers that answer."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.emulator.testing import Emulator, running_emulator
from infra.local.server import free_ports
from tests.integration.doctor.looking import PROJECT, Look, Report, run
from tests.tls import make_certificate, tls_front
from tests.twins.stranger import Answer, stranger

LIST = b'{"backups": []}'
NOTHING = Answer(404, b'{"error_msg": "The API does not exist", "error_code": "APIGW.0101"}')


@pytest.fixture(scope="module")
def guarded() -> Iterator[Emulator]:
    """An API that wants a token."""
    with running_emulator(auth="token", username="bot", password="right", project_id=PROJECT) as running:
        yield running


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """The doctor without a broker: these tests are not about it."""
    monkeypatch.setenv("AMQP_URL", f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/")
    monkeypatch.setenv("VBS_PROJECT_ID", PROJECT)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")

    def looked(**changed: str) -> Report:
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        return run()

    return looked


def account(guarded: Emulator, **changed: str) -> dict[str, str]:
    """Settings of a sign-in that works."""
    right = {
        "VBS_ENDPOINT": guarded.url,
        "OS_AUTH_URL": f"{guarded.url}/v3",
        "OS_USERNAME": "bot",
        "OS_PASSWORD": "right",
        "OS_PROJECT_ID": PROJECT,
    }
    return right | changed


def test_a_sign_in_that_works(look: Look, guarded: Emulator) -> None:
    """The project's list answers, and the clock is the API's."""
    report = look(**account(guarded))

    report.one("api", "ok", "list of backups", PROJECT)
    report.one("clock", "ok")


def test_a_project_known_by_name_alone(
    look: Look, guarded: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is what the sign-in tells."""
    monkeypatch.delenv("VBS_PROJECT_ID")
    settings = account(guarded, OS_PROJECT_NAME="demo")
    del settings["OS_PROJECT_ID"]

    look(**settings).one("api", "ok", "list of backups", PROJECT)


def test_a_wrong_password_is_tried_once(look: Look, guarded: Emulator) -> None:
    """Accounts lock after a few wrong tries; the password is never shown."""
    before = guarded.stats().get("token", {}).get("401", 0)

    report = look(**account(guarded, OS_PASSWORD="s3cr3t"))

    found = report.one("api", "bad", "sign-in", "refused", "OS_PASSWORD", "lock")
    assert 1 == guarded.stats()["token"]["401"] - before
    assert "s3cr3t" not in f"{found}"


def test_a_sign_in_that_cannot_be_reached(look: Look, guarded: Emulator) -> None:
    """Then OS_AUTH_URL is wrong, not the API's address."""
    report = look(**account(guarded, OS_AUTH_URL=f"http://127.0.0.1:{free_ports(1)[0]}/v3"))

    report.one("api", "bad", "sign-in", "no program listens", "OS_AUTH_URL")


def test_an_expired_token(look: Look, guarded: Emulator) -> None:
    """A token is not renewed by itself; the token is never shown."""
    found = look(VBS_ENDPOINT=guarded.url, OS_TOKEN="s3cr3t").one("api", "bad", "401", "OS_TOKEN", "expired")

    assert "s3cr3t" not in f"{found}"


def test_no_sign_in_where_one_is_wanted(look: Look, guarded: Emulator) -> None:
    """Nothing is set: it says what could be."""
    look(VBS_ENDPOINT=guarded.url).one("api", "bad", "401", "requires a sign-in")


def test_a_wrong_secret_key(look: Look) -> None:
    """The API refuses the signature."""
    with running_emulator(auth="aksk", ak="AK", sk="right") as api:
        report = look(VBS_ENDPOINT=api.url, HUAWEICLOUD_SDK_AK="AK", HUAWEICLOUD_SDK_SK="s3cr3t")

    found = report.one("api", "bad", "401", "HUAWEICLOUD_SDK_AK", "clock")
    assert "s3cr3t" not in f"{found}"


def test_an_endpoint_with_a_path(look: Look) -> None:
    """The path is made from other settings."""
    report = look(VBS_ENDPOINT="https://vbs.example.com/v2/abc")

    report.one("settings", "bad", "VBS_ENDPOINT", "VBS_API_VERSION")
    assert 2 == report.exit


def test_credentials_over_plain_http(look: Look) -> None:
    """They do not leave the machine unencrypted; what else there is is still looked at."""
    report = look(VBS_ENDPOINT="http://vbs.example.com", OS_TOKEN="s3cr3t")

    report.one("settings", "bad", "VBS_ENDPOINT", "https")
    report.one("api", "warning", "not checked")
    report.one("ledger", "ok", "ledger.db")
    assert 2 == report.exit


def test_an_endpoint_that_is_not_set(look: Look) -> None:
    """The one setting without a default."""
    look().one("settings", "bad", "VBS_ENDPOINT", "is not set")


def test_an_unreachable_endpoint(look: Look) -> None:
    """Nobody listens; then the clock cannot be compared, which is said."""
    report = look(VBS_ENDPOINT=f"http://127.0.0.1:{free_ports(1)[0]}")

    report.one("api", "bad", "no program listens", "VBS_ENDPOINT")
    report.one("clock", "warning", "not checked")


def test_an_endpoint_whose_name_nobody_knows(look: Look) -> None:
    """A typing error in the host's name."""
    look(VBS_ENDPOINT="http://vbs.invalid").one("api", "bad", "cannot be resolved", "VBS_ENDPOINT")


def test_an_endpoint_with_a_certificate_of_an_unknown_authority(
    look: Look, guarded: Emulator, tmp_path: Path
) -> None:
    """VBS_CA_FILE names the authority, and with it all is well."""
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_front(urlsplit(guarded.url).port or 0, certificate) as port:
        settings = account(guarded, VBS_ENDPOINT=f"https://127.0.0.1:{port}")
        look(**settings).one("api", "bad", "not signed by a trusted authority", "VBS_CA_FILE")
        look(**settings, VBS_CA_FILE=str(certificate.certificate)).one("api", "ok", "list of backups")


def test_the_wrong_version(look: Look) -> None:
    """Where the API is under its other version, that is named."""
    with stranger({"/v3/": Answer(200, LIST)}, NOTHING) as url:
        report = look(VBS_ENDPOINT=url, VBS_API_VERSION="v2")

    report.one("api", "bad", "/v2 is not a path of the API", "VBS_API_VERSION=v3")


def test_a_host_that_is_not_the_api(look: Look) -> None:
    """Neither version answers; or what answers is no list."""
    with stranger({}, NOTHING) as url:
        look(VBS_ENDPOINT=url).one("api", "bad", "nor is /v3", "VBS_ENDPOINT")
    with stranger({}, Answer(200, b"<html>It works!</html>")) as url:
        look(VBS_ENDPOINT=url).one("api", "bad", "is not the API", "VBS_ENDPOINT")


def test_rights_that_the_account_lacks(look: Look) -> None:
    """403 is a matter of roles, not of credentials."""
    refusal = Answer(403, b'{"forbidden": {"message": "Policy does not allow it", "code": 403}}')
    with stranger({}, refusal) as url:
        look(VBS_ENDPOINT=url).one("api", "bad", "403", "role")


@pytest.mark.parametrize(("minutes", "state"), [(20, "bad"), (-20, "bad"), (10, "warning"), (0, "ok")])
def test_a_clock_that_is_off(look: Look, minutes: int, state: str) -> None:
    """Beyond 15 minutes signed calls are refused; from 5 it is worth knowing."""
    there = format_datetime(datetime.now(UTC) - timedelta(minutes=minutes), usegmt=True)
    with stranger({}, Answer(200, LIST, {"Date": there})) as url:
        report = look(VBS_ENDPOINT=url)

    report.one("clock", state, *(["minutes", "NTP"] if minutes else ["within"]))


def test_an_endpoint_that_never_answers(monkeypatch: pytest.MonkeyPatch, look: Look) -> None:
    """The call has its time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        report = look(VBS_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}", VBS_TIMEOUT="0.5")

    report.one("api", "bad", "does not answer", "VBS_ENDPOINT")
