"""The proxy of a URL, from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.

This module reads them, not the HTTP libraries: httpx raises on some entries of ``NO_PROXY``, and some errors
of httpx and requests show the password of a proxy. As in curl, the variable in small letters goes before the
one in capitals.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from handler.errors import SettingsError
from handler.loopback import address_of, is_loopback
from handler.values import clean

_SCHEMES = ("http", "https", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443}
_LONGEST = 4096
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?", re.ASCII)

_ENTRY = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?:\[(?P<address>[^\[\]/]+(?:/\d+)?)\](?P<prefix>/\d+)?|(?P<host>[^\[\]/:]+))"
    r"(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)
"""An entry of ``NO_PROXY`` that is no bare address or network: those have colons and slashes of their own."""

_NAME = re.compile(r"[\w*-]+(?:\.[\w*-]+)*")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxy(NamedTuple):
    """The URL of a proxy, checked, and the variable that it is from."""

    variable: str
    url: SecretStr


class _Target(NamedTuple):
    scheme: str
    host: str
    port: int | None


def any_proxy(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment names a proxy at all."""
    return any(_variable(name, environment)[1] for name in ("http", "https", "all"))


def proxy_for(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy that a URL goes through, or None where it is reached directly.

    Loopback never has a proxy. Only what decides about this URL is read; raises ``SettingsError`` with one
    line that names the variable where that cannot be used, and ``ValueError`` for a URL that is none.
    """
    parts = urlsplit(url)
    target = _Target(
        parts.scheme, (parts.hostname or "").removesuffix("."), parts.port or _PORTS.get(parts.scheme)
    )
    if is_loopback(target.host):
        return None
    variable, value = _variable(target.scheme, environment)
    if not value:
        variable, value = _variable("all", environment)
    if not value or _is_exempt(target, environment):
        return None
    return Proxy(variable, SecretStr(_checked(variable, value)))


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable's name as it is set, and its value; an empty one in small letters counts too."""
    small, capital = f"{name}_proxy", f"{name.upper()}_PROXY"
    variable = small if small in environment else capital
    return variable, clean(environment.get(variable, ""))


def _checked(variable: str, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    if not _is_usable(url):
        raise SettingsError(
            f"{variable}: must be a URL such as http://user:password@proxy.example.com:3128, or of https or "
            "socks5; %-encode special characters of user and password"
        )
    return url


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    # A bare #, ? or / in a password ends the host too early.
    alone = parts.path in ("", "/") and not parts.query and not parts.fragment
    named = bool(_HOST.fullmatch(host)) or address_of(host) is not None
    written = url.isprintable() and len(url) <= _LONGEST
    return parts.scheme in _SCHEMES and alone and named and written and port != 0


def _is_exempt(target: _Target, environment: Mapping[str, str]) -> bool:
    variable, value = _variable("no", environment)
    entries = filter(None, re.split(r"[,\s]+", value))
    for position, entry in enumerate(entries, start=1):
        try:
            if _fits(entry, target):
                return True
        except ValueError:
            # The entry is not shown: it may be a part of a proxy's URL, with a part of its password.
            raise SettingsError(
                f"{variable}: entry {position} is no host, address or network, such as example.com, "
                "10.0.0.0/8 or fd00::/8"
            ) from None
    return False


def _fits(entry: str, target: _Target) -> bool:
    """Return whether an entry of ``NO_PROXY`` matches this target. Raises ``ValueError`` for a bad entry."""
    if network := _network(entry):
        return _is_in(target.host, network)
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError("no entry of NO_PROXY")
    elsewhere = match["scheme"] and match["scheme"].lower() not in ("all", target.scheme)
    if elsewhere or (match["port"] and int(match["port"]) != target.port):
        return False
    if network := _network(
        f"{match['address']}{match['prefix'] or ''}" if match["address"] else match["host"]
    ):
        return _is_in(target.host, network)
    return _is_named(target.host, _encoded(match["host"] or ""))


def _network(text: str) -> Network | None:
    """Return the addresses that a text means, one or a network, or None."""
    try:
        return ipaddress.ip_interface(text).network
    except ValueError:
        return None


def _is_in(host: str, network: Network) -> bool:
    address = address_of(host)
    return address is not None and address.version == network.version and address in network


def _encoded(name: str) -> str:
    """Return a host's name as a request's URL has it: in ASCII. Raises ``ValueError`` where it is no name."""
    if not _NAME.fullmatch(name.strip(".")):
        raise ValueError("no host")
    return name.lower() if name.isascii() else name.lower().encode("idna").decode("ascii")


def _is_named(host: str, name: str) -> bool:
    """Return whether a host has this name or is a subdomain of it; a leading dot changes nothing."""
    if "*" in name.removeprefix("*."):
        return fnmatchcase(host, name)
    domain = name.removeprefix("*").strip(".")
    return host == domain or (address_of(host) is None and host.endswith(f".{domain}"))
