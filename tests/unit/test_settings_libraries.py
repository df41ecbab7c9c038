"""Whatever a setting is, it is refused in one line, or the library that it is for can use it."""

import httpx
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from handler.addresses import endpoint, ledger_url, sign_in_url
from handler.amqp_url import parse_amqp_url
from handler.broker.connection import Tls, parameters
from handler.errors import SettingsError
from handler.settings import NAMES, load_settings

_WORDS = """
:// : / // @ ? # % %2F %40 %ff %00 [ ] [::1] , . .. & = ' " ~ * { - _ xn-- user pass host h.example.com bücher
127.0.0.1 ::1 fe80::1%25eth0 5672 0 65536 heartbeat sslmode ٣ ß
"""
_MARKS = (
    " ",
    "\t",
    "\n",
    "\0",
    "\\",
    "\N{SNOWMAN}",
    "\N{ZERO WIDTH NO-BREAK SPACE}",
    "\N{NO-BREAK SPACE}",
    "x" * 64,
)
PIECES = st.sampled_from([*_WORDS.split(), *_MARKS])
"""What means something to a parser of URLs, and what should mean nothing."""


def texts(*beginnings: str) -> st.SearchStrategy[str]:
    """Return texts of pieces that mean something to parsers of URLs."""
    pieces = st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join)
    return st.builds(str.__add__, st.sampled_from(beginnings), pieces)


@given(texts("amqp://", "amqps://", "AMQP://u:", "amqp://u:p@h/", "amqp://h?", ""))
def test_an_accepted_address_of_a_broker_is_one_for_pika(text: str) -> None:
    """pika takes each address that is accepted, with the same virtual host and login."""
    try:
        url = parse_amqp_url(text)
    except ValueError:
        return
    found = parameters(url, Tls())

    assert (url.host, url.port, url.vhost) == (found.host, found.port, found.virtual_host)


@given(texts("https://", "http://", "HTTPS://h", ""))
def test_an_accepted_url_of_the_api_is_one_for_httpx(text: str) -> None:
    """httpx takes each accepted URL with the same host, and what was normalised stays as it is."""
    for parse in (endpoint, sign_in_url):
        try:
            url = parse(text)
        except ValueError:
            continue
        assert httpx.URL(url).host
        assert url == parse(url)


@given(texts("postgresql://", "postgres://u:p@", "postgresql+psycopg://h/", "sqlite:///", "sqlite:", ""))
def test_an_accepted_ledger_is_one_for_its_library(text: str) -> None:
    """libpq takes each accepted URL without parameters, and what was normalised stays as it is."""
    try:
        url = ledger_url(text)
    except ValueError:
        return
    if url.startswith("postgresql:") and "?" not in url:
        conninfo_to_dict(url)
    assert url == ledger_url(url)


@given(st.sampled_from(sorted(NAMES)), texts("", "amqp://", "https://", "1", "a,"))
def test_any_text_is_accepted_or_refused_in_one_line(name: str, text: str) -> None:
    """No text of a setting raises anything but ``SettingsError``, which names it in one printable line."""
    problems: tuple[str, ...] = ()
    try:
        load_settings(_env_file=None, **{name.lower(): text})
    except SettingsError as error:
        problems = error.problems

    assert all(name in problem and "\n" not in problem for problem in problems)
