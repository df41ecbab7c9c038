"""Parses ``AMQP_URL``: the addresses of a broker, with the query parameters of RabbitMQ and of pika.

Nothing is left for pika to guess: it takes the first part of a path for the virtual host and drops the rest.
What cannot be used is a ``ValueError`` that says what to write instead, and shows no part of the URL.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from handler.addresses import ascii_host, is_text
from handler.values import choice, decimal, pattern, whole

EXAMPLE: Final = "amqp://user:password@host:5672/vhost"

_SEPARATORS = re.compile(r"[,\s]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_PORTS = {"amqp": 5672, "amqps": 5671}
_LONGEST_VHOST = 255


@dataclass(frozen=True, slots=True)
class AmqpUrl:
    """One address of the broker. ``options`` are arguments of ``pika.ConnectionParameters``."""

    tls: bool
    host: str
    port: int
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    server_name: str | None = None
    """The name that the broker's certificate must have, if it is not the host."""
    options: Mapping[str, Any] = field(default_factory=dict)


def split_addresses(text: str) -> Sequence[str]:
    """Split several URLs at commas, spaces and line ends; a comma within a URL belongs to it."""
    parts = (part.strip().strip(",").strip() for part in _SEPARATORS.split(text))
    return [part for part in parts if part]


def parse_amqp_url(url: str) -> AmqpUrl:
    """Parse one address. Raises ``ValueError``."""
    parts = _split(url)
    user, password = _login(parts)
    options = {name: value for name, value in _options(parts) if name not in _ALREADY_SO}
    server_name = options.pop("server_name", None)
    return AmqpUrl(
        tls=parts.scheme == "amqps",
        host=_host(parts),
        port=_port(parts),
        user=user,
        password=password,
        vhost=_vhost(parts.path),
        server_name=server_name,
        options=options,
    )


def _split(url: str) -> SplitResult:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _PORTS:
        raise ValueError("must begin with amqp:// or amqps:// (TLS)")
    if not url.isprintable() or " " in url:
        raise ValueError("has a space or a control character inside; a space is written %20")
    if "#" in rest:
        raise ValueError(
            "has a bare #, where a URL ends: in user, password and virtual host write %23 for #, %40 for @ "
            "and %2F for /"
        )
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" not in authority and "@" in rest:
        raise ValueError(
            "has a bare / or ? before its @: in user and password write %2F for /, %3F for ? and %23 for #"
        )
    if re.search(r"[\[\]]", authority.rpartition("@")[0]):
        raise ValueError("has a bare [ or ] in user or password: write %5B for [ and %5D for ]")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(
            "has a host that cannot be read: an IPv6 address is written in brackets: [::1]"
        ) from None


def _host(parts: SplitResult) -> str:
    if not parts.hostname:
        raise ValueError("names no host; an IPv6 address is written in brackets: [::1]")
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError(
            "has a comma in its host: several brokers are several whole URLs with commas between them"
        )
    try:
        return ascii_host(parts.hostname)
    except ValueError:
        raise ValueError(
            "has a host that is neither a name nor an address; an IPv6 address is written in brackets, "
            "and in user and password %23 is written for #, %40 for @ and %2F for /"
        ) from None


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has a port that is no number from 1 to 65535")
    return port or _PORTS[parts.scheme]


def _login(parts: SplitResult) -> tuple[str, str]:
    login, at, _ = parts.netloc.rpartition("@")
    if not at:
        return "guest", "guest"
    user, colon, password = login.partition(":")
    if not user or not colon:
        raise ValueError("has a user without a password, or none before its @: it is user:password@host")
    return _decoded(user, "the user"), _decoded(password, "the password")


def _vhost(path: str) -> str:
    """Return the virtual host; none, a slash, and two as in Celery's URLs mean ``/``."""
    if path in ("", "/", "//"):
        return "/"
    if "/" in path[1:]:
        raise ValueError(
            "has a virtual host with a bare slash in it or after it: write %2F for each of its /"
        )
    vhost = _decoded(path[1:], "the virtual host")
    if len(vhost.encode()) > _LONGEST_VHOST:
        raise ValueError(f"has a virtual host that is longer than {_LONGEST_VHOST} bytes")
    return vhost


def _decoded(text: str, what: str) -> str:
    if not is_text(text):
        raise ValueError(
            f"has % escapes in {what} that are no UTF-8, or a control character; % itself is written %25"
        )
    return unquote(text)


def _options(parts: SplitResult) -> Iterator[tuple[str, Any]]:
    seen = set()
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in seen:
            raise ValueError(f"has the parameter {_shown(name)} twice")
        seen.add(name)
        yield _option(name, value, tls=parts.scheme == "amqps")


def _option(name: str, value: str, *, tls: bool) -> tuple[str, Any]:
    if name in _INSTEAD:
        raise ValueError(f"has the parameter {name}, which does not work here: {_INSTEAD[name]}")
    if name in _TLS_ONLY and not tls:
        raise ValueError(f"has the parameter {name}, which is for amqps:// only")
    parse, example = _PARAMETERS.get(name, (None, ""))
    if parse is None:
        close = get_close_matches(name.lower(), _PARAMETERS, 1, 0.7)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"has the parameter {_shown(name)}, which is none of an AMQP URL; {meant}"
            f"known are {', '.join(_PARAMETERS)}"
        )
    try:
        return _ARGUMENTS.get(name, name), parse(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(
            f"has the parameter {name} with a value that it cannot have; write {name}={example}"
        ) from None


def _shown(name: str) -> str:
    """Return a parameter's name for an error, unless it can be a part of a password."""
    return name if re.fullmatch(r"[A-Za-z_-]{1,40}", name) else "with an unusual name"


def _milliseconds(text: str) -> float:
    return whole(1, 900_000)(text) / 1000


def _seconds(least: float, most: float = 31_536_000) -> Callable[[object], float]:
    return decimal(least, most, "seconds")


def _tcp_options(text: str) -> Mapping[str, int]:
    options = ast.literal_eval(text)
    numbers = isinstance(options, dict) and all(type(each) is int for each in options.values())
    if not numbers or not options.keys() <= {
        "TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_USER_TIMEOUT",
    }:  # fmt: skip
        raise ValueError(text)
    return dict(options)


_PARAMETERS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "heartbeat": (whole(0, 65_535), "30"),
    "connection_timeout": (_milliseconds, "10000 (milliseconds)"),
    "channel_max": (whole(1, 65_535), "2047"),
    "frame_max": (whole(4_096, 131_072), "131072"),
    "verify": (choice("verify_peer"), "verify_peer: the certificate is always checked, against AMQP_CA_FILE"),
    "server_name_indication": (ascii_host, "broker.example.com"),
    "auth_mechanism": (choice("plain"), "plain: the program signs in with user and password only"),
    "blocked_connection_timeout": (_seconds(0), "300"),
    "socket_timeout": (_seconds(0.001), "10"),
    "stack_timeout": (_seconds(0.001), "15"),
    "connection_attempts": (whole(1, 100), "1"),
    "retry_delay": (_seconds(0, 3600), "2"),
    "locale": (pattern("[A-Za-z_]{2,16}", "a locale"), "en_US"),
    "tcp_options": (_tcp_options, "{'TCP_KEEPIDLE':60}"),
}
"""The parameters that work: RabbitMQ's documented ones first, then pika's. Each has a parser and a value."""

_ARGUMENTS: Final[Mapping[str, str]] = {
    "connection_timeout": "socket_timeout",
    "server_name_indication": "server_name",
}
"""What a parameter is called in ``AmqpUrl.options``, if not by its own name."""

_ALREADY_SO = frozenset({"verify", "auth_mechanism"})
"""Parameters that can only have the value by which the program connects anyway."""

_TLS_ONLY = frozenset({"verify", "server_name_indication"})

_FILES = "name the PEM files in AMQP_CA_FILE, AMQP_CERT_FILE and AMQP_KEY_FILE"
_INSTEAD: Final[Mapping[str, str]] = {
    "cacertfile": _FILES,
    "certfile": _FILES,
    "keyfile": _FILES,
    "password": "AMQP_KEY_FILE must be a key without a passphrase (openssl pkey -in key.pem -out plain.pem)",
    "fail_if_no_peer_cert": "it is a server's",
    "depth": "the length of a certificate chain is not limited",
    "ssl_options": _FILES,
    "client_properties": "the program sends its own",
    "backpressure_detection": "pika has it no more",
}
"""Parameters of RabbitMQ and pika that are refused, and what to do instead."""
