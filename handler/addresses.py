"""URLs, addresses and files in settings: parsed and normalised, without a connection.

What cannot be used is a ``ValueError`` that says what to write instead, and shows no part of the value.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_to_bytes, urlsplit

_NAME = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?")
_LONGEST_NAME = 253
_LONGEST_PATH = 1024
_LISTEN = re.compile(r"(?:(?P<host>[^:\[\]]*)|\[(?P<address>[^\[\]]+)\]):(?P<port>[0-9]{1,5})")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_VERSION = re.compile(r"v[0-9]+(?:\.[0-9]+)?")
_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")

_ESCAPES = "in user and password write %23 for #, %40 for @, %2F for /, %3A for : and %25 for %"
_SPACED = "has a space or a control character inside; a space is written %20"
_IPV6 = "an IPv6 address is written in brackets"
_NO_HOST = f"has a host that is neither a name nor an address; {_IPV6}"
_NO_PORT = "has a port that is no number from 1 to 65535"


def ascii_host(text: str) -> str:
    """Return a host as it goes over the network: an address, or a name in ASCII. Raises ``ValueError``."""
    text = text.replace("%25", "%")  # before the zone of a link-local address
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    name = text.lower()
    if not name.isascii() or "xn--" in name:
        name = _international(name)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ValueError(_NO_HOST)
    return name


def _international(name: str) -> str:
    """Return a name with letters beyond ASCII as httpx encodes it, which then can decode it too."""
    import idna  # takes 9 ms, and few hosts need it

    try:
        encoded = idna.encode(name, uts46=True).decode("ascii")
        idna.decode(encoded)
    except idna.IDNAError:
        raise ValueError(_NO_HOST) from None  # its own text shows the host
    return encoded


def is_host(text: str) -> bool:
    """Return whether a text can be a host: a name that DNS can hold, or an address."""
    try:
        ascii_host(text)
    except ValueError:
        return False
    return True


def endpoint(url: str) -> str:
    """Return the API's endpoint: scheme and host, perhaps port and path, without version and project."""
    base, version = service_url(url)
    if version is not None:
        raise ValueError(
            f"must end before /{version}: what follows is made from VBS_API_VERSION and the project"
        )
    return base


def service_url(url: str, project_id: str = "") -> tuple[str, str | None]:
    """Return a service's URL without version and project, and its version, such as ``v3``, if it has one."""
    parts = _http(url)
    segments = [segment for segment in parts.path.split("/") if segment]
    if parts.query or not all(map(_SEGMENT.fullmatch, segments)) or {".", ".."} & {*segments}:
        raise ValueError("must be scheme and host, perhaps with port and path, and without parameters")
    version = None
    for number, segment in enumerate(segments):
        if _VERSION.fullmatch(segment):
            version, segments = segment.partition(".")[0], segments[:number]
            break
    else:
        if project_id and segments and segments[-1].removeprefix("AUTH_") == project_id:
            del segments[-1]
    return "/".join([_origin(parts), *segments]), version


def management_url(url: str) -> str:
    """Return the URL of RabbitMQ's management API, which has user and password, and may have a path."""
    parts = _http(url, login=True)
    if parts.query or not parts.username or parts.password is None:
        raise ValueError(f"must be http://user:password@host:15672 or the same with https; {_ESCAPES}")
    return url


def sign_in_url(url: str) -> str:
    """Return the URL of IAM or Keystone, which may have a path."""
    parts = _http(url)
    if parts.query:
        raise ValueError("has parameters after a ?, which belong to no sign-in")
    return _origin(parts) + parts.path


def web_url(url: str) -> str:
    """Return a URL of http or https, which may have a login, a path and parameters."""
    _http(url, login=True)
    return url


def _http(url: str, *, login: bool = False) -> SplitResult:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise ValueError("must begin with https:// (or http://)")
    if not url.isprintable() or " " in url:
        raise ValueError(_SPACED)
    if "#" in rest or (login and "@" in re.sub("^[^/?]*", "", rest)):
        raise ValueError(
            f"has a bare #, / or ?; {_ESCAPES}" if login else "has a #, and what comes after it is not sent"
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_NO_HOST) from None
    if "@" in rest and not login:
        raise ValueError("has an @: user and password belong into settings of their own")
    _check_place(parts)
    return parts


def _origin(parts: SplitResult) -> str:
    host = ascii_host(parts.hostname or "")
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _check_place(parts: SplitResult) -> None:
    """Check host and port of a URL. Raises ``ValueError``."""
    if not parts.hostname:
        raise ValueError("names no host")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(_NO_PORT)
    if not is_host(parts.hostname):
        raise ValueError(_NO_HOST)


def ledger_url(text: str) -> str:
    """Return the ledger's URL as the ledgers know it: ``none``, ``sqlite:///…`` or ``postgresql://…``.

    ``postgres://`` and SQLAlchemy's ``postgresql+psycopg://`` are read too.
    """
    if text.lower() == "none":
        return "none"
    scheme, _, rest = text.partition(":")
    kind = scheme.lower().partition("+")[0]
    if kind == "sqlite":
        return f"sqlite:///{_sqlite_file(rest)}"
    if kind in ("postgres", "postgresql"):
        url = f"postgresql:{rest}"
        _check_postgresql(url)
        return url
    raise ValueError("must be sqlite:///FILE, postgresql://user:password@host:5432/database, or none")


def _sqlite_file(rest: str) -> str:
    path = rest.removeprefix("///")
    if path == rest or not path:
        raise ValueError(
            "must have three slashes before the file, and a fourth where its path is absolute: "
            "sqlite:///relative.db or sqlite:////absolute/path.db"
        )
    if "?" in path or not path.isprintable():
        raise ValueError("must name a file only: no parameters after a ?, no control characters")
    if path == ":memory:" or path.startswith("file:"):
        raise ValueError("must name a file: a ledger in memory is lost when the process ends")
    path = str(expanded(path)) + "/" * path.endswith("/")
    if path.endswith("/") or _is_folder(Path(path)):
        raise ValueError("names a folder; name a file in it")
    return path


class DatabaseUrl(NamedTuple):
    """The parts of a ledger's URL; ``hosts`` may be several with commas, each with a port."""

    scheme: str
    login: str
    hosts: str
    path: str
    query: str


def database_url(url: str) -> DatabaseUrl:
    """Return the parts of a ledger's URL.

    Releases of Python differ in what ``urlsplit`` takes: some refuse an IPv6 address after another host.
    """
    before, _, query = url.partition("?")
    scheme, _, rest = before.partition(":")
    authority, slash, path = rest.removeprefix("//").partition("/")
    login, _, hosts = authority.rpartition("@")
    return DatabaseUrl(scheme, login, hosts, slash + path, query)


def _check_postgresql(url: str) -> None:
    """Check what libpq reads: it may name several hosts, sockets, or none for its defaults."""
    if not url.startswith("postgresql://"):
        raise ValueError("must have two slashes after postgresql:")
    if not url.isprintable() or " " in url:
        raise ValueError(_SPACED)
    if "#" in url or _BARE_PERCENT.search(url):
        raise ValueError(f"has a bare # or %; {_ESCAPES}")
    if not is_text(url):
        raise ValueError("has % escapes that are no UTF-8, or a control character; % itself is written %25")
    parts = database_url(url)
    if "@" in parts.login or "@" in parts.path:
        raise ValueError(f"has a bare character in user or password; {_ESCAPES}")
    if not all(map(_is_place, parts.hosts.split(","))):
        raise ValueError(f"has a host or a port that cannot be; {_IPV6}; {_ESCAPES}")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        values, example = _POSTGRESQL.get(name, (".*", ""))
        if not re.fullmatch(values, value):
            raise ValueError(
                f"has the parameter {name} with a value that it cannot have; write {name}={example}"
            )


_POSTGRESQL: Final[Mapping[str, tuple[str, str]]] = {
    "sslmode": ("disable|allow|prefer|require|verify-ca|verify-full", "require"),
    "connect_timeout": ("[0-9]{1,6}", "5"),
    "target_session_attrs": ("any|read-write|read-only|primary|standby|prefer-standby", "read-write"),
    "port": ("[0-9]{1,5}(?:,[0-9]{1,5})*", "5432"),
}
"""Parameters whose wrong value libpq names only when it connects: what they can be, and a value."""


def is_text(escaped: str) -> bool:
    """Return whether a text's % escapes are UTF-8 without control characters."""
    try:
        return all(ord(char) >= 32 for char in unquote_to_bytes(escaped).decode())
    except UnicodeDecodeError:
        return False


def _is_place(text: str) -> bool:
    """Return whether a text is a host with or without a port, a socket's folder, or nothing."""
    if not text or unquote(text).startswith("/"):
        return True
    found = _LISTEN.fullmatch(text if re.search(r":\d*$", text) else f"{text}:5432")
    if found is None or not 0 < int(found["port"]) < 65_536:
        return False
    return is_host(found["host"] or found["address"] or "")


def listen_address(text: str) -> str:
    """Return the address of a server of ours; without a host it is every interface."""
    found = _LISTEN.fullmatch(text)
    host = (found["host"] or found["address"] or "") if found else ""
    if found is None or int(found["port"]) > 65_535 or (host and not is_host(host)):
        raise ValueError("must be host:port, or :port for every interface, with a port up to 65535")
    return text


def readable_file(text: str) -> Path:
    """Return the path of a file that this user can read."""
    if "-----BEGIN" in text:
        raise ValueError("is the certificate or key itself; write it into a file, and name that")
    if text.lower().startswith("file:"):
        raise ValueError("is a URL; write the path alone")
    path = expanded(text)
    if len(str(path)) > _LONGEST_PATH:  # perhaps a key, which must not be shown
        raise ValueError("is longer than a path can be")
    whole = path.absolute()  # a relative path does not say in which folder it was looked for
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ValueError(f"{whole} does not exist (No such file)") from None
    except OSError as error:
        raise ValueError(f"{whole} cannot be read ({error.strerror})") from None
    if stat.S_ISDIR(mode):
        raise ValueError(f"{whole} is a folder; name a file in it")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{whole} cannot be read by this user; give it the right, with chmod or chown")
    return path


def expanded(text: str) -> Path:
    """Return a path; ``~`` at its beginning is the user's home."""
    if not text.isprintable():
        raise ValueError("has a line end or another control character in its path; write it on one line")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, and this user has no home folder; write the whole path") from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
