"""The HTTP session of the trace exporter: it takes its proxy from ``handler.proxies``."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import requests

from handler.errors import SettingsError
from handler.proxies import Proxy, any_proxy, proxy_for

_DEFAULT = "http://localhost:4318"
"""OpenTelemetry's own."""


def session(environment: Mapping[str, str]) -> requests.Session | None:
    """Return the session for the collector, or None for the exporter's own where no proxy is named.

    Raises ``SettingsError`` where the proxy, or the collector's URL, cannot be used.
    """
    if not any_proxy(environment):
        return None
    proxy = _proxy(environment)
    if proxy is None:
        return _Session(None)
    url = proxy.url.get_secret_value()
    if url.startswith("socks") and importlib.util.find_spec("socks") is None:
        raise SettingsError(f"{proxy.variable}: traces need the package PySocks for it: pip install PySocks")
    return _Session(url)


def _proxy(environment: Mapping[str, str]) -> Proxy | None:
    variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    variable = next((name for name in variables if environment.get(name)), variables[-1])
    try:
        return proxy_for(environment.get(variable) or _DEFAULT, environment)
    except ValueError:
        raise SettingsError(f"{variable}: must be a URL such as {_DEFAULT}") from None


class _Session(requests.Session):
    """A session whose proxy is given; requests reads its other variables from the environment."""

    def __init__(self, proxy: str | None) -> None:
        super().__init__()
        self._given = {"http": proxy, "https": proxy}

    def merge_environment_settings(self, *arguments: Any, **options: Any) -> Any:
        """See ``requests.Session``."""
        return {**super().merge_environment_settings(*arguments, **options), "proxies": self._given}
