"""Unit tests of the choice of a proxy for a URL, by the proxy variables of the environment."""

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import SettingsError
from handler.loopback import is_loopback
from handler.proxies import any_proxy, proxy_for

PROXY = "http://proxy.example.com:3128"
PASSWORD = "s3cr3t"

API, IPV4, IPV6 = "https://vbs.example.com/v2", "https://10.1.2.3/v2", "https://[fd00::5]:8443/v2"
LOOPBACK = (
    "http://localhost:8776",
    "http://LOCALHOST.",
    "http://api.localhost",
    "http://127.0.0.1",
    "https://127.8.9.10:1",
    "http://[::1]:80",
    "http://[::ffff:127.0.0.1]",
)


def way(url: str, **environment: str) -> str | None:
    """Return the proxy's URL, or None for a direct connection."""
    proxy = proxy_for(url, environment)
    return proxy.url.get_secret_value() if proxy else None


def exempt(url: str, no_proxy: str) -> bool:
    """Return whether ``NO_PROXY`` exempts a URL."""
    return way(url, ALL_PROXY=PROXY, NO_PROXY=no_proxy) is None


@pytest.mark.parametrize(
    ("environment", "plain", "encrypted"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, None, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None, None),
        ({"ALL_PROXY": PROXY}, PROXY, PROXY),
        ({"all_proxy": PROXY, "HTTP_PROXY": "http://other"}, "http://other", PROXY),
        ({"HTTPS_PROXY": "   ", "ALL_PROXY": PROXY}, PROXY, PROXY),
        ({"FTP_PROXY": PROXY, "NO_PROXY": "example.com"}, None, None),
    ],
    ids=repr,
)
def test_the_scheme_decides_about_the_variable(
    environment: dict[str, str], plain: str | None, encrypted: str | None
) -> None:
    """Lower case takes precedence over upper case, and a scheme's own variable over ``ALL_PROXY``."""
    assert plain == way("http://vbs.example.com", **environment)
    assert encrypted == way("https://vbs.example.com", **environment)


@pytest.mark.parametrize("url", LOOPBACK)
def test_loopback_never_has_a_proxy(url: str) -> None:
    """A loopback URL has no proxy, even if the proxy variables are unusable."""
    assert way(url, ALL_PROXY="ftp://:@", NO_PROXY="fd00::/999") is None


@pytest.mark.parametrize("host", ["localhost.example.com", "notlocalhost", "128.0.0.1", "::2", "fd00::1", ""])
def test_other_hosts_are_not_loopback(host: str) -> None:
    """A host that only resembles a loopback host is not loopback."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (API, "vbs.example.com"),
        (API, "VBS.Example.COM."),
        (API, "example.com"),
        (API, ".example.com"),
        (API, "*.example.com"),
        (API, "vbs.*"),
        (API, "*"),
        (API, " , other.org,, example.com ,"),
        (API, "other.org example.com\tmore.org"),
        (API, "vbs.example.com:443"),
        (API, "https://vbs.example.com"),
        (API, "https://example.com/"),
        (API, "all://example.com:443"),
        (IPV4, "10.1.2.3"),
        (IPV4, "10.0.0.0/8"),
        (IPV4, "10.9.9.9/8"),
        (IPV4, "10.0.0.0/255.0.0.0"),
        (IPV4, "10.1.2.3:443"),
        (IPV4, "10.*"),
        ("https://[::ffff:10.1.2.3]", "10.0.0.0/8"),
        (IPV6, "fd00::/8"),
        (IPV6, "[fd00::/8]"),
        (IPV6, "[fd00::]/8"),
        (IPV6, "fd00::5"),
        (IPV6, "FD00:0::5"),
        (IPV6, "[fd00::5]"),
        (IPV6, "[fd00::5]:8443"),
        (IPV6, "https://[fd00::5]:8443"),
        (IPV6, "::1/128,::1,[::1],[::1]:80,fe80::1%eth0,fd00::5/128"),
        ("https://xn--bcher-kva.example", "bücher.example"),
    ],
)
def test_an_entry_of_no_proxy_exempts_what_it_names(url: str, no_proxy: str) -> None:
    """An entry is a host with its subdomains, an address or a network, perhaps with scheme and port."""
    assert exempt(url, no_proxy)


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        (API, ""),
        (API, " ,, "),
        (API, "ple.com"),
        (API, "vbs.example.com.org"),
        (API, "vbs.example.com:80"),
        (API, "http://vbs.example.com"),
        (API, "0.0.0.0/0,::/0"),
        (IPV4, "11.0.0.0/8"),
        (IPV4, "2.3"),
        (IPV4, "10.1.2.3:80"),
        (IPV4, "fd00::/8,::1/128,[::1],localhost"),
        (IPV6, "fe00::/8"),
        (IPV6, "[fd00::5]:443"),
        (IPV6, "10.0.0.0/8"),
        (IPV6, "::/128"),
    ],
)
def test_an_entry_of_no_proxy_exempts_no_other_url(url: str, no_proxy: str) -> None:
    """An entry exempts no other URL: names are compared label by label, and addresses are not names."""
    assert not exempt(url, no_proxy)


@pytest.mark.parametrize(
    "entry",
    ["[::1", "fd00::/999", "10.0.0.0/33", "a/8", "x:y", "x:" + "9" * 5000, "..", "<local>", "http://", "::x"],
    ids=lambda entry: entry[:12],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_an_entry_that_cannot_be_read_is_named_with_its_variable(entry: str, variable: str) -> None:
    """An invalid entry is an error; if it were ignored, the proxy would get requests meant to go directly."""
    with pytest.raises(SettingsError) as raised:
        way(API, ALL_PROXY=PROXY, **{variable: f"other.org,{entry}"})

    assert str(raised.value).startswith(f"{variable}: entry 2 is no host, address or network, such as ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "entry", [f"http://u:{PASSWORD}@proxy.example.com", f"u:{PASSWORD}@h", f"http://u:{PASSWORD},x@h"]
)
def test_a_password_in_no_proxy_is_not_shown(entry: str) -> None:
    """The error about an entry shows no password, even if a comma splits the password."""
    with pytest.raises(SettingsError, match="NO_PROXY: entry 1 is no host") as raised:
        way(API, ALL_PROXY=PROXY, NO_PROXY=entry)

    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("no_proxy", ["fd00::/999", "[::1", "x:y"])
def test_no_proxy_is_not_read_without_a_proxy(no_proxy: str) -> None:
    """Without a proxy, an invalid ``NO_PROXY`` raises no error."""
    assert way(API, NO_PROXY=no_proxy) is None
    assert not any_proxy({"NO_PROXY": no_proxy})


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy.example.com:3128", "http://proxy.example.com:3128"),
        (f" {PROXY}/ ", f"{PROXY}/"),
        ("https://[fd00::1]:3128", "https://[fd00::1]:3128"),
        ("socks5://proxy.example.com", "socks5://proxy.example.com"),
        (f"u:{PASSWORD}@proxy_1:3128", f"http://u:{PASSWORD}@proxy_1:3128"),
        ("http://u:a@b@proxy", "http://u:a@b@proxy"),
        ("http://u:a%23b@proxy", "http://u:a%23b@proxy"),
    ],
)
def test_a_proxy_s_url_is_completed(value: str, url: str) -> None:
    """A URL without a scheme is http; special characters of the login are encoded."""
    assert url == way(API, HTTPS_PROXY=value)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        f"ftp://u:{PASSWORD}@h",
        f"http://u:{PASSWORD}#x@h:1",
        f"http://u:1#{PASSWORD}@h:1",
        f"http://u:1/{PASSWORD}@h:1",
        f"http://u:1?{PASSWORD}@h:1",
        f"http://u:{PASSWORD}@h:99999",
        f"http://u:{PASSWORD}@h:0",
        f"http://u:{PASSWORD}@h:x",
        f"http://u:{PASSWORD}@",
        f"http://u:{PASSWORD}@a b",
        f"http://u:{PASSWORD}\x00@h",
        f"http://u:{PASSWORD}\udcff@h",
        f"http://u:{PASSWORD}[@h",
        f"http://u:{PASSWORD}@[::1",
        f"http://u:{PASSWORD}{'x' * 5000}@h",
        f"u:{PASSWORD}@é..é",
        "://",
        "http://",
    ],
    ids=ascii,
)
def test_a_proxy_that_cannot_be_used_is_named_without_its_value(variable: str, value: str) -> None:
    """The error is one line, without any part of the password."""
    with pytest.raises(SettingsError) as raised:
        way(API, **{variable: value})

    assert str(raised.value).startswith(f"{variable}: must be a URL such as ")
    assert PASSWORD not in str(raised.value)
    assert "\n" not in str(raised.value)


TEXT = st.text() | st.text("aA1.:@/[]%#?-_*é ,", max_size=40)
PROXY_URL = TEXT | st.builds("{}://{}".format, st.sampled_from(["http", "https", "socks5h"]), TEXT)


@given(variable=st.sampled_from(["HTTPS_PROXY", "all_proxy"]), value=PROXY_URL, no_proxy=TEXT)
def test_any_value_works_or_is_one_line_that_names_its_variable(
    variable: str, value: str, no_proxy: str
) -> None:
    """Any value gives a proxy that httpx accepts, or an error of one line that names the variable."""
    found = [variable_works(**{variable: value}), variable_works(**{variable: PROXY, "NO_PROXY": no_proxy})]

    for url, error in found:
        assert url or re.fullmatch(rf"(|({variable}|NO_PROXY): .+)", error)
        if url:
            httpx.Proxy(url)


def variable_works(**environment: str) -> tuple[str, str]:
    """Return the proxy's URL and the error; either may be empty."""
    try:
        return way(IPV6, **environment) or "", ""
    except SettingsError as error:
        return "", str(error)


def test_a_proxy_does_not_show_its_url() -> None:
    """The repr of a proxy hides its URL."""
    assert PASSWORD not in repr(proxy_for(API, {"HTTPS_PROXY": f"http://u:{PASSWORD}@h"}))
