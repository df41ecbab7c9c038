"""Checks of URLs and addresses in settings, without a connection. Each problem is a text with an example."""

import ast
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

_NAME = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?")
_LONGEST_NAME = 253
_LISTEN = re.compile(r"(?:(?P<host>[^:\[\]]*)|\[(?P<address>[^\[\]]+)\]):(?P<port>\d{1,5})")

AMQP: Final = "must be an amqp or amqps URL, such as amqp://user:password@host:5672/vhost"
_ESCAPE = "%-encode special characters of user and password, such as %40 for @"


def split_url(url: str, *schemes: str) -> SplitResult | None:
    """Split a URL; None where scheme, host or port is bad, as with an unescaped # in a password."""
    if not url.isprintable() or " " in url:
        return None  # urlsplit silently drops some of these
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    usable = parts.scheme in schemes and is_host(host) and port != 0 and not parts.fragment
    return parts if usable else None


def is_host(text: str) -> bool:
    """Return whether a text can be a host: a name that DNS can hold, or an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= _LONGEST_NAME and bool(_NAME.fullmatch(text))
    return True


def amqp_problems(url: str) -> Iterator[str]:
    """Yield what is wrong with a broker's URL."""
    parts = split_url(url, "amqp", "amqps")
    if parts is None:
        yield f"{AMQP}; {_ESCAPE}"
        return
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        check = _PARAMETERS.get(name)
        if check is None:
            yield (
                f"{name[:40]!r} is no parameter of an AMQP URL; known are {', '.join(_PARAMETERS)}, "
                "such as ?heartbeat=30; TLS has AMQP_CA_FILE, AMQP_CERT_FILE and AMQP_KEY_FILE"
            )
        elif not check(value):
            yield f"the parameter {name} has a value that it cannot have; use {_EXAMPLES[name]}, for example"


def endpoint_problems(url: str) -> Iterator[str]:
    """Yield what is wrong with the API's endpoint: scheme and host, perhaps a port."""
    parts = split_url(url, "http", "https")
    if parts is None:
        yield "must be scheme and host, such as https://vbs.region.example.com"
    elif parts.path not in ("", "/") or parts.query or "@" in parts.netloc:
        yield (
            "must be scheme, host and port, such as https://vbs.region.example.com; "
            "the path is made from VBS_API_VERSION and the project"
        )


def sign_in_problems(url: str) -> Iterator[str]:
    """Yield what is wrong with the URL of IAM or Keystone, which may have a path."""
    parts = split_url(url, "http", "https")
    if parts is None or parts.query or "@" in parts.netloc:
        yield "must be a URL, for example https://iam.region.example.com/v3"


def ledger_problems(url: str) -> Iterator[str]:
    """Yield what is wrong with the ledger's URL; the file's folder need not be there yet."""
    scheme = url.partition(":")[0]
    if url != "none" and scheme not in ("sqlite", "postgresql"):
        yield "must be sqlite:///FILE, postgresql://user:password@host/database, or none"
    elif scheme == "sqlite":
        yield from _sqlite_problems(url)
    elif scheme == "postgresql" and not _is_postgresql(url):
        yield f"must be postgresql://user:password@host:5432/database; {_ESCAPE}"


def _sqlite_problems(url: str) -> Iterator[str]:
    prefix, _, path = url.partition("///")
    if prefix != "sqlite:" or not path or "?" in path or "\0" in path:
        yield "must be sqlite:///relative.db or sqlite:////absolute/path.db"
    elif _is_folder(Path(path)):
        yield "names a folder; name a file in it, such as sqlite:////var/lib/snapshot-backup/ledger.db"


def _is_postgresql(url: str) -> bool:
    """Return whether libpq can read the URL; it may name several hosts, or none for its defaults."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not url.startswith("postgresql://") or not url.isprintable() or " " in url or parts.fragment:
        return False
    hosts = parts.netloc.rpartition("@")[2]
    return parts.netloc.count("@") <= 1 and all(map(_is_place, hosts.split(",")))


def _is_place(text: str) -> bool:
    """Return whether a text is a host with or without a port, or nothing."""
    if not text:
        return True
    found = _LISTEN.fullmatch(text if re.search(r":\d+$", text) else f"{text}:5432")
    if found is None or not 0 < int(found["port"]) < 65_536:
        return False
    return is_host(found["host"] or found["address"] or "")


def listen_problems(address: str) -> Iterator[str]:
    """Yield what is wrong with the address of a server of ours; without a host it is every interface."""
    found = _LISTEN.fullmatch(address)
    host = (found["host"] or found["address"] or "") if found else ""
    if found is None or int(found["port"]) > 65_535 or (host and not is_host(host)):
        yield "must be host:port, such as 127.0.0.1:8080 or [::1]:8080"


def file_problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with a file that is to be read."""
    if _is_folder(path):
        yield f"{path}: is a folder; name a file"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _number(least: float, most: float) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return least <= float(value) <= most
        except ValueError:
            return False

    return check


def _integer(least: int, most: int) -> Callable[[str], bool]:
    return lambda value: value.isdecimal() and value.isascii() and least <= int(value) <= most


def _is_table(value: str) -> bool:
    try:
        return isinstance(ast.literal_eval(value), dict)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


_YEAR = 31_536_000
_PARAMETERS: Final[Mapping[str, Callable[[str], bool]]] = {
    "heartbeat": _integer(0, 65_535),
    "blocked_connection_timeout": _number(0, _YEAR),
    "channel_max": _integer(1, 65_535),
    "connection_attempts": _integer(1, 1_000),
    "frame_max": _integer(4_096, 131_072),
    "locale": lambda value: bool(re.fullmatch(r"[A-Za-z_]{2,16}", value)),
    "retry_delay": _number(0, _YEAR),
    "socket_timeout": _number(0.001, _YEAR),
    "stack_timeout": _number(0.001, _YEAR),
    "tcp_options": _is_table,
}
"""The parameters that pika reads from a URL, and whether a text is a value of each."""

_EXAMPLES: Final[Mapping[str, str]] = {
    "heartbeat": "30",
    "blocked_connection_timeout": "300",
    "channel_max": "2047",
    "connection_attempts": "1",
    "frame_max": "131072",
    "locale": "en_US",
    "retry_delay": "2",
    "socket_timeout": "10",
    "stack_timeout": "15",
    "tcp_options": "{'TCP_KEEPIDLE':60}",
}
