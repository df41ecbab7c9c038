"""Tests of requests with and without a proxy, over real sockets, with our transport and httpx's own."""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest

from events.outcome import Category
from handler.errors import ApiError, SettingsError
from handler.settings import Settings
from handler.vbs.client import VbsClient
from handler.vbs.transport import http
from handler.vbs.transport.http import http_client
from handler.vbs.transport.proxied import ProxiedTransport
from infra.local.server import free_ports
from tests.tls import make_certificate, tls_front
from tests.twins.http_proxy import HttpProxy, http_proxy
from tests.twins.stranger import Answer, stranger
from tests.unit.vbs.world import PROJECT, REQUEST

LIST = b'{"backups": []}'
PASSWORD = "s3cr3t"
LOGIN = "Basic dTpzM2NyM3Q="
IDS = ("0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40", "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8", "name")
PATH = f"/v2/{PROJECT}/backups/detail?limit=100&volume_id={IDS[0]}"

T = TypeVar("T")


@pytest.fixture(params=["pool", "httpx"], autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Select the transport of requests without a proxy."""
    if request.param == "pool":
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
    monkeypatch.setattr(http, "_fast", request.param == "pool")
    return str(request.param)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxy variables of the shell that started the tests."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    """Run a proxy that answers as an API without backups."""
    with http_proxy(answer=LIST) as proxy:
        yield proxy


def client(endpoint: str, **settings: Any) -> httpx.AsyncClient:
    """Return the HTTP client for these settings."""
    return http_client(Settings(_env_file=None, vbs_endpoint=endpoint, **settings))


def use(endpoint: str, call: Callable[[VbsClient], Coroutine[Any, Any, T]], **settings: Any) -> T:
    """Call the API at an endpoint."""

    async def run() -> T:
        api = VbsClient(client(endpoint, **settings), endpoint, timeout=5)
        try:
            return await call(api)
        finally:
            await api.aclose()

    return asyncio.run(run())


def listed(endpoint: str, **settings: Any) -> list[object]:
    """Return the backups that are listed by the API, or by the proxy that answers for it."""
    return list(use(endpoint, lambda api: api.find(PROJECT, *IDS), **settings))


def failure(endpoint: str) -> ApiError:
    """Make a create call that must fail, and return its error."""
    with pytest.raises(ApiError) as raised:
        use(endpoint, lambda api: api.create(PROJECT, REQUEST))
    return raised.value


def url_of(proxy: HttpProxy) -> str:
    """Return the URL of the proxy, with a login."""
    return f"http://u:{PASSWORD}@127.0.0.1:{proxy.port}"


def test_a_request_goes_through_the_proxy(proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy gets the whole URL and the login; the client does not resolve the API's name."""
    monkeypatch.setenv("HTTP_PROXY", url_of(proxy))

    assert [] == listed("http://vbs.invalid")
    assert [("GET", f"http://vbs.invalid{PATH}", LOGIN)] == proxy.asked


def test_an_encrypted_request_goes_through_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client verifies the API's certificate in the tunnel; the proxy gets only host, port and login."""
    certificate = make_certificate(tmp_path, "DNS:vbs.invalid")
    with (
        stranger({}, Answer(200, LIST)) as api,
        tls_front(urlsplit(api).port or 0, certificate) as front,
        http_proxy(tunnel_to=front) as proxy,
    ):
        monkeypatch.setenv("https_proxy", url_of(proxy))

        assert [] == listed("https://vbs.invalid", vbs_ca_file=certificate.certificate)
    assert [("CONNECT", "vbs.invalid:443", LOGIN)] == proxy.asked


def test_a_proxy_is_reached_over_tls(
    proxy: HttpProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy with an ``https`` URL is verified with the same certificate authorities as the API."""
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    with tls_front(proxy.port, certificate) as front:
        monkeypatch.setenv("ALL_PROXY", f"https://u:{PASSWORD}@127.0.0.1:{front}")

        assert [] == listed("http://vbs.invalid", vbs_ca_file=certificate.certificate)
    assert [("GET", f"http://vbs.invalid{PATH}", LOGIN)] == proxy.asked


def test_a_request_to_loopback_never_goes_through_a_proxy(
    proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call to the emulator on this machine ignores the shell's proxy variables."""
    monkeypatch.setenv("ALL_PROXY", url_of(proxy))
    with stranger({}, Answer(200, LIST)) as api:
        assert [] == listed(api)
    assert [] == proxy.asked


def test_a_request_to_a_host_of_no_proxy_goes_directly(
    proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client reaches a host of NO_PROXY directly and every other host through the proxy."""
    monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
    monkeypatch.setenv("NO_PROXY", "fd00::/8,direct.invalid")

    assert "through the proxy" not in failure("http://direct.invalid").message
    assert [] == listed("http://vbs.invalid")
    assert 1 == len(proxy.asked)


@pytest.mark.parametrize(
    "no_proxy", ["fd00::/8", "[::1]", "::1/128", "[::1]:80", "*", " a b ,, ", "h:99", "[::1", "fd00::/999"]
)
def test_no_proxy_alone_changes_nothing(
    transport: str, no_proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY without a proxy has no effect, whatever its value: the client uses the usual transport."""
    monkeypatch.setenv("NO_PROXY", no_proxy)
    made = client("https://vbs.example.com")

    assert not made._mounts
    assert {"pool": "Pool", "httpx": "GuardedTransport"}[transport] == type(made._transport).__name__


@pytest.mark.parametrize(("variable", "value"), [("HTTPS_PROXY", ""), ("NO_PROXY", "*")])
def test_a_url_without_a_proxy_keeps_its_transport(
    transport: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API's URL keeps the direct transport if the proxy is for other URLs, so calls stay fast."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    monkeypatch.setenv(variable, value)
    made = client("https://vbs.example.com")

    assert isinstance(made._transport, ProxiedTransport)
    direct = made._transport._route(httpx.URL("https://vbs.example.com/v2")).transport
    assert {"pool": "Pool", "httpx": "GuardedTransport"}[transport] == type(direct).__name__


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", f"http://u:{PASSWORD}#@proxy"),
        ("all_proxy", f"ftp://u:{PASSWORD}@proxy"),
        ("ALL_PROXY", f"socks5://u:{PASSWORD}@proxy"),
        ("no_proxy", "fd00::/999"),
    ],
)
@pytest.mark.parametrize("setting", ["vbs_endpoint", "os_auth_url"])
def test_a_variable_that_cannot_be_used_is_refused_at_the_start(
    variable: str, value: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable, for the API and for the sign-in, without the password."""
    if variable == "no_proxy":
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv(variable, value)
    if value.startswith("socks5"):
        monkeypatch.setitem(sys.modules, "socksio", None)
    urls = {"vbs_endpoint": "http://127.0.0.1:1", setting: "https://vbs.example.com"}
    with pytest.raises(SettingsError, match=f"^{variable}: ") as raised:
        http_client(Settings(_env_file=None, **urls))  # type: ignore[arg-type] # parsed by pydantic

    assert PASSWORD not in str(raised.value)


def test_an_unusable_variable_fails_a_later_url_as_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bad variable for a URL outside the settings fails the call as unavailable, since nothing was sent."""
    monkeypatch.setenv("HTTP_PROXY", f"ftp://u:{PASSWORD}@proxy")

    async def run() -> None:
        async with client("https://vbs.example.com") as made:
            api = VbsClient(made, "http://vbs.example.com")
            await api.create(PROJECT, REQUEST)

    with pytest.raises(ApiError, match="HTTP_PROXY: must be a URL") as raised:
        asyncio.run(run())
    assert Category.UNAVAILABLE == raised.value.category


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_named_by_its_variable(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is unavailable and names the proxy variable: no request was sent to the API."""
    monkeypatch.setenv("ALL_PROXY", f"http://u:{PASSWORD}@127.0.0.1:{free_ports(1)[0]}")
    error = failure(f"{scheme}://vbs.invalid")

    assert (Category.UNAVAILABLE, True) == (error.category, "through the proxy of ALL_PROXY" in error.message)
    assert PASSWORD not in repr(error)


def test_a_proxy_that_wants_another_login_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 407 of the proxy is unavailable, not in doubt: the proxy forwarded nothing."""
    with http_proxy(status=407) as proxy:
        monkeypatch.setenv("ALL_PROXY", url_of(proxy))
        error = failure("https://vbs.invalid")

    assert Category.UNAVAILABLE == error.category
    assert "407" in error.message
    assert "through the proxy of ALL_PROXY" in error.message
    assert PASSWORD not in repr(error)


def test_no_log_line_shows_the_login_of_a_proxy(
    proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has no password of a proxy, even if the HTTP libraries log each step at DEBUG."""
    for name in (None, "httpcore", "httpcore.connection", "httpx"):
        caplog.set_level(logging.DEBUG, name)
    monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
    monkeypatch.setenv("HTTPS_PROXY", url_of(proxy))
    listed("http://vbs.invalid")
    with http_proxy(status=502) as broken:
        monkeypatch.setenv("HTTPS_PROXY", url_of(broken))
        failure("https://vbs.invalid")

    assert caplog.text
    assert PASSWORD not in caplog.text
    assert LOGIN.split()[1] not in caplog.text
