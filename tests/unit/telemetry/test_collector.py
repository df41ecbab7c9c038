"""Tests of the HTTP session for the trace collector, with and without a proxy of the environment."""

import importlib.util
from collections.abc import Mapping
from contextlib import closing

import pytest
import requests

from handler.errors import SettingsError
from handler.telemetry.collector import session
from tests.twins.http_proxy import http_proxy

PASSWORD = "s3cr3t"
PROXY = f"http://u:{PASSWORD}@127.0.0.1:1"


def made_of(environment: Mapping[str, str]) -> requests.Session:
    """Return the session for an environment that names a proxy."""
    made = session(environment)
    assert made is not None
    return made


def proxies(environment: Mapping[str, str]) -> object:
    """Return the proxies that the session passes to requests."""
    return made_of(environment).merge_environment_settings("http://any", {}, None, None, None)["proxies"]


def test_without_a_proxy_the_exporter_has_its_own_session() -> None:
    """``NO_PROXY`` without a proxy has no effect, whatever its value."""
    assert session({"NO_PROXY": "fd00::/999"}) is None


@pytest.mark.parametrize("endpoint", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:4318"}], ids=repr)
def test_a_collector_on_loopback_has_no_proxy(endpoint: Mapping[str, str]) -> None:
    """A collector on loopback, OpenTelemetry's default, is reached directly; requests would use the proxy."""
    assert {"http": None, "https": None} == proxies({"ALL_PROXY": PROXY, "HTTP_PROXY": PROXY, **endpoint})


def test_a_collector_elsewhere_has_the_proxy_of_its_scheme() -> None:
    """The traces' own endpoint precedes the general one and decides the proxy."""
    endpoints = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://otel.example.com/v1/traces",
    }

    assert {"http": PROXY, "https": PROXY} == proxies({"HTTPS_PROXY": PROXY, **endpoints})
    assert {"http": None, "https": None} == proxies(
        {"HTTPS_PROXY": PROXY, "no_proxy": "*.example.com", **endpoints}
    )


def test_traces_go_through_the_proxy_with_its_login() -> None:
    """The proxy gets the whole URL and the login; the session does not resolve the collector's name."""
    with http_proxy() as proxy:
        environment = {
            "HTTP_PROXY": f"http://u:{PASSWORD}@127.0.0.1:{proxy.port}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.invalid:4318",
        }
        with closing(made_of(environment)) as made:
            assert 200 == made.post("http://otel.invalid:4318/v1/traces", data=b"x", timeout=5).status_code

    assert [("POST", "http://otel.invalid:4318/v1/traces", "Basic dTpzM2NyM3Q=")] == proxy.asked


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"HTTP_PROXY": f"http://u:{PASSWORD}@h:99999"}, "HTTP_PROXY: must be"),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "fd00::/999"}, "NO_PROXY: entry 1"),
        (
            {"HTTP_PROXY": PROXY, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: must be",
        ),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused_at_the_start(
    environment: dict[str, str], named: str
) -> None:
    """The error names the variable without the password, which the exporter would log at each export."""
    elsewhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.example.com:4318", **environment}
    with pytest.raises(SettingsError, match=f"^{named}") as raised:
        session(elsewhere)

    assert PASSWORD not in str(raised.value)


def test_a_socks_proxy_without_its_package_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy needs the package PySocks; without the error no trace would arrive."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    environment = {"ALL_PROXY": "socks5://h", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.example.com"}

    with pytest.raises(SettingsError, match=r"^ALL_PROXY: .*PySocks"):
        session(environment)
