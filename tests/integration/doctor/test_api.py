"""Findings of the doctor on the API's settings, the sign-in and the clock, with real servers."""

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
    """Run an API that requires a token."""
    with running_emulator(auth="token", username="bot", password="right", project_id=PROJECT) as running:
        yield running


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """Return a function that runs the doctor without a broker."""
    monkeypatch.setenv("AMQP_URL", f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/")
    monkeypatch.setenv("VBS_PROJECT_ID", PROJECT)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")

    def looked(**changed: str) -> Report:
        for name, value in changed.items():
            monkeypatch.setenv(name, value)
        return run()

    return looked


def account(guarded: Emulator, **changed: str) -> dict[str, str]:
    """Return the settings of a working sign-in, with changes."""
    right = {
        "VBS_ENDPOINT": guarded.url,
        "OS_AUTH_URL": f"{guarded.url}/v3",
        "OS_USERNAME": "bot",
        "OS_PASSWORD": "right",
        "OS_PROJECT_ID": PROJECT,
    }
    return right | changed


def test_a_working_sign_in_is_ok(look: Look, guarded: Emulator) -> None:
    """After a working sign-in, the project's list and the clock are ok."""
    report = look(**account(guarded))

    report.one("api", "ok", "list of backups", PROJECT)
    report.one("clock", "ok")


def test_the_account_and_the_origin_of_its_values_are_shown(look: Look, guarded: Emulator) -> None:
    """The doctor says who signs in, where, and where each value is from, without a secret."""
    report = look(**account(guarded))

    found = report.one("settings", "ok", "account", "user bot of domain Default signs in to project")
    assert "from environment: OS_AUTH_URL, OS_USERNAME, OS_PASSWORD, OS_PROJECT_ID" in found.text
    assert "right" not in found.text


def test_the_account_of_a_cloud_shows_its_files(look: Look, guarded: Emulator, tmp_path: Path) -> None:
    """Of ``OS_CLOUD`` the doctor shows the files, and the variables that have no effect beside it."""
    auth = f"auth_url: {guarded.url}, username: bot, project_id: {PROJECT}"
    (tmp_path / "clouds.yaml").write_text(f"clouds: {{here: {{region_name: r1, auth: {{{auth}}}}}}}")
    (tmp_path / "secure.yaml").write_text("clouds: {here: {auth: {password: right}}}")
    report = look(
        VBS_ENDPOINT=guarded.url,
        OS_CLOUD="here",
        OS_CLIENT_CONFIG_FILE=str(tmp_path / "clouds.yaml"),
        OS_CLIENT_SECURE_FILE=str(tmp_path / "secure.yaml"),
        OS_USERNAME="another",
    )

    found = report.one(
        "settings", "ok", "account", "cloud here: user bot of domain Default signs in to project"
    )
    assert f"from {tmp_path}/clouds.yaml: auth_url, username, project_id, region_name" in found.text
    assert f"from {tmp_path}/secure.yaml: password" in found.text
    report.one("settings", "warning", "OS_USERNAME", "without effect")
    report.one("api", "ok", "list of backups", PROJECT)


def test_plain_http_is_a_warning_where_it_is_allowed(look: Look) -> None:
    """Each URL over which secrets go unencrypted is named, with what it costs."""
    report = look(
        VBS_ENDPOINT="http://192.0.2.1:8776",
        OS_AUTH_URL="http://192.0.2.1:5000",
        OS_USERNAME="bot",
        OS_PASSWORD="right",
        OS_PROJECT_ID=PROJECT,
        VBS_ALLOW_PLAINTEXT="true",
        VBS_TIMEOUT="0.2",
    )

    for name in ("VBS_ENDPOINT", "OS_AUTH_URL"):
        assert "use https" in report.one("settings", "warning", name, "is http").remedy


def test_a_project_known_by_name_is_checked(
    look: Look, guarded: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's id is read from the sign-in's answer."""
    monkeypatch.delenv("VBS_PROJECT_ID")
    settings = account(guarded, OS_PROJECT_NAME="demo")
    del settings["OS_PROJECT_ID"]

    look(**settings).one("api", "ok", "list of backups", PROJECT)


def test_a_wrong_password_is_tried_once(look: Look, guarded: Emulator) -> None:
    """A wrong password is tried once, since wrong attempts lock the account; it is never shown."""
    before = guarded.stats().get("token", {}).get("401", 0)

    report = look(**account(guarded, OS_PASSWORD="s3cr3t"))

    found = report.one("api", "bad", "sign-in", "refused", "OS_PASSWORD", "lock")
    assert 1 == guarded.stats()["token"]["401"] - before
    assert "s3cr3t" not in f"{found}"


def test_an_unreachable_sign_in_is_bad(look: Look, guarded: Emulator) -> None:
    """If the sign-in cannot be reached, the remedy names OS_AUTH_URL."""
    report = look(**account(guarded, OS_AUTH_URL=f"http://127.0.0.1:{free_ports(1)[0]}/v3"))

    report.one("api", "bad", "sign-in", "no program listens", "OS_AUTH_URL")


def test_an_expired_token_is_bad(look: Look, guarded: Emulator) -> None:
    """An expired OS_TOKEN is reported, and never shown."""
    found = look(VBS_ENDPOINT=guarded.url, OS_TOKEN="s3cr3t").one("api", "bad", "401", "OS_TOKEN", "expired")

    assert "s3cr3t" not in f"{found}"


def test_a_missing_sign_in_is_bad(look: Look, guarded: Emulator) -> None:
    """If the API requires a sign-in and none is set, the remedy names the settings."""
    look(VBS_ENDPOINT=guarded.url).one("api", "bad", "401", "requires a sign-in")


def test_a_wrong_secret_key_is_bad(look: Look) -> None:
    """A refused signature is reported with access key and clock; the secret is never shown."""
    with running_emulator(auth="aksk", ak="AK", sk="right") as api:
        report = look(VBS_ENDPOINT=api.url, HUAWEICLOUD_SDK_AK="AK", HUAWEICLOUD_SDK_SK="s3cr3t")

    found = report.one("api", "bad", "401", "HUAWEICLOUD_SDK_AK", "clock")
    assert "s3cr3t" not in f"{found}"


def test_an_endpoint_with_a_version_and_project_is_bad(look: Look) -> None:
    """Version and project in VBS_ENDPOINT are an error, since other settings give them."""
    report = look(VBS_ENDPOINT="https://vbs.example.com/v2/abc")

    report.one("settings", "bad", "VBS_ENDPOINT", "VBS_API_VERSION")
    assert 2 == report.exit


def test_credentials_over_plain_http_are_refused(look: Look) -> None:
    """Credentials are not sent unencrypted, and the other areas are still checked."""
    report = look(VBS_ENDPOINT="http://vbs.example.com", OS_TOKEN="s3cr3t")

    report.one("settings", "bad", "VBS_ENDPOINT", "https")
    report.one("api", "warning", "not checked")
    report.one("ledger", "ok", "ledger.db")
    assert 2 == report.exit


def test_a_missing_endpoint_is_bad(look: Look) -> None:
    """VBS_ENDPOINT has no default, and is reported if it is not set."""
    look().one("settings", "bad", "VBS_ENDPOINT", "is not set")


def test_an_unreachable_endpoint_is_bad(look: Look) -> None:
    """If the API refuses connections, the clock is reported as not checked."""
    report = look(VBS_ENDPOINT=f"http://127.0.0.1:{free_ports(1)[0]}")

    report.one("api", "bad", "no program listens", "VBS_ENDPOINT")
    report.one("clock", "warning", "not checked")


def test_an_unknown_host_name_is_bad(look: Look) -> None:
    """A host name that cannot be resolved is reported with VBS_ENDPOINT."""
    look(VBS_ENDPOINT="http://vbs.invalid").one("api", "bad", "cannot be resolved", "VBS_ENDPOINT")


def test_a_certificate_of_an_unknown_authority_is_bad(look: Look, guarded: Emulator, tmp_path: Path) -> None:
    """The remedy names VBS_CA_FILE, and with that file the endpoint is ok."""
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_front(urlsplit(guarded.url).port or 0, certificate) as port:
        settings = account(guarded, VBS_ENDPOINT=f"https://127.0.0.1:{port}")
        look(**settings).one("api", "bad", "not signed by a trusted authority", "VBS_CA_FILE")
        look(**settings, VBS_CA_FILE=str(certificate.certificate)).one("api", "ok", "list of backups")


def test_the_wrong_api_version_is_bad(look: Look) -> None:
    """If the API answers under its other version, the remedy names that version."""
    with stranger({"/v3/": Answer(200, LIST)}, NOTHING) as url:
        report = look(VBS_ENDPOINT=url, VBS_API_VERSION="v2")

    report.one("api", "bad", "/v2 is not a path of the API", "VBS_API_VERSION=v3")


def test_every_route_is_asked(look: Look) -> None:
    """Create, list and both shows are answered, at an endpoint with a path and without v2."""
    with running_emulator(path="/volume", versions="v3") as emulator:
        report = look(VBS_ENDPOINT=f"{emulator.url}/volume")
        report.one("api", "ok", "create", f"{emulator.url}/volume/v3/{PROJECT}/backups")
        report.one("api", "ok", "show backup")
        report.one("api", "ok", "show snapshot", f"{emulator.url}/volume/v3")
        assert [] == emulator.backups()
        assert "create" not in emulator.stats()


def test_a_host_without_snapshots_needs_another_setting(look: Look) -> None:
    """The remedy names EVS_ENDPOINT, and with it the route is ok."""
    with running_emulator(evs_path="/evs") as emulator:
        look(VBS_ENDPOINT=emulator.url).one("api", "warning", "show snapshot", "APIGW.0101", "EVS_ENDPOINT")
        evs = f"{emulator.url}/evs"
        look(VBS_ENDPOINT=emulator.url, EVS_ENDPOINT=evs).one("api", "ok", "show snapshot", evs)


@pytest.mark.parametrize("route", ["list", "show"])
def test_a_route_that_fails_alone_is_named(look: Look, route: str) -> None:
    """The list itself, or the show of a backup, is refused while the others work."""
    with running_emulator() as emulator:
        emulator.set_faults([{"route": route, "effect": "status", "status": 503}])
        named = {"list": "list of backups", "show": "show backup"}[route]
        look(VBS_ENDPOINT=emulator.url).one("api", "bad", named, "503")


def test_a_host_that_is_not_the_api_is_bad(look: Look) -> None:
    """A host without either version, or with a web page instead of a list, is not the API."""
    with stranger({}, NOTHING) as url:
        look(VBS_ENDPOINT=url).one("api", "bad", "nor is /v3", "VBS_ENDPOINT")
    with stranger({}, Answer(200, b"<html>It works!</html>")) as url:
        look(VBS_ENDPOINT=url).one("api", "bad", "is not the API", "VBS_ENDPOINT")


def test_a_missing_role_is_bad(look: Look) -> None:
    """For status 403 the remedy names roles, not credentials."""
    refusal = Answer(403, b'{"forbidden": {"message": "Policy does not allow it", "code": 403}}')
    with stranger({}, refusal) as url:
        look(VBS_ENDPOINT=url).one("api", "bad", "403", "role")


@pytest.mark.parametrize(("minutes", "state"), [(20, "bad"), (-20, "bad"), (10, "warning"), (0, "ok")])
def test_a_wrong_clock_is_reported(look: Look, minutes: int, state: str) -> None:
    """A clock that is 15 minutes off is bad, since signed calls are refused; 5 minutes are a warning."""
    there = format_datetime(datetime.now(UTC) - timedelta(minutes=minutes), usegmt=True)
    with stranger({}, Answer(200, LIST, {"Date": there})) as url:
        report = look(VBS_ENDPOINT=url)

    report.one("clock", state, *(["minutes", "NTP"] if minutes else ["within"]))


def test_an_endpoint_that_never_answers_is_bad(monkeypatch: pytest.MonkeyPatch, look: Look) -> None:
    """A call without an answer ends after VBS_TIMEOUT."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        report = look(VBS_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}", VBS_TIMEOUT="0.5")

    report.one("api", "bad", "does not answer", "VBS_ENDPOINT")
