"""Variables that look like settings and are none: mistyped names, which would change nothing silently."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from handler.sources import SECRETS, Found

_SHARED = frozenset({"CONSOLE", "HTTP", "HUAWEICLOUD", "LOG", "OS", "QUEUE", "RULES", "SECRETS", "STATE"})
"""First words of settings that begin other programs' variables too: there only a mistyped name counts."""

_OTHERS = frozenset(
    {
        # Of images and tools that share a container or a shell with the worker, by first word.
        *("MAX_CLIENTS", "MAX_CONNECTIONS", "MAX_HEAP_SIZE", "MAX_JOBS", "MAX_MEMORY", "MAX_OPEN_FILES"),
        *("MAX_REQUESTS", "MAX_REQUESTS_JITTER", "MAX_THREADS", "MAX_WORKERS"),
        *("WAIT_AFTER", "WAIT_BEFORE", "WAIT_COMMAND", "WAIT_HOSTS", "WAIT_HOST_CONNECT_TIMEOUT"),
        *("WAIT_LOGGER_LEVEL", "WAIT_PATHS", "WAIT_PATH_CONNECT_TIMEOUT", "WAIT_SLEEP_INTERVAL"),
        "WAIT_TIMEOUT",
        # Of OpenStack's and Huawei Cloud's own tools, near to names of ours.
        *("OS_CLOUD_NAME", "OS_CLOUDNAME", "OS_PROJECT_DOMAIN", "OS_USER_DOMAIN"),
        *("HUAWEICLOUD_SDK_PROJECT_ID", "HUAWEICLOUD_SDK_DOMAIN_ID"),
    }
)
"""Variables of other programs: they are no mistakes."""

_OTHER_SIGN_IN = "no sign-in of this program needs it; VBS_AUTH names those that there are"
_SIGN_INS: Mapping[str, str] = {
    **dict.fromkeys(("OS_AK", "OS_ACCESS_KEY"), "did you mean HUAWEICLOUD_SDK_AK?"),
    **dict.fromkeys(("OS_SK", "OS_SECRET_KEY"), "did you mean HUAWEICLOUD_SDK_SK?"),
    **dict.fromkeys(("OS_AUTH_TOKEN", "OS_SERVICE_TOKEN"), "did you mean OS_TOKEN?"),
    **dict.fromkeys(
        (
            *("OS_ACCESS_TOKEN", "OS_ACCESS_TOKEN_ENDPOINT", "OS_ACCESS_TOKEN_TYPE", "OS_AUTH_METHODS"),
            *("OS_CLIENT_ID", "OS_CLIENT_SECRET", "OS_CONSUMER_KEY", "OS_CONSUMER_SECRET"),
            *("OS_DISCOVERY_ENDPOINT", "OS_IDENTITY_PROVIDER", "OS_IDENTITY_PROVIDER_URL"),
            *("OS_OAUTH2_CLIENT_ID", "OS_OAUTH2_CLIENT_SECRET", "OS_OAUTH2_ENDPOINT", "OS_OPENID_SCOPE"),
            *("OS_PASSCODE", "OS_PROTOCOL", "OS_SERVICE_PROVIDER_ENDPOINT"),
        ),
        _OTHER_SIGN_IN,
    ),
}
"""Variables of ``openrc`` files that belong to a sign-in which we do not have, and what to say of each."""

_SERVICE = re.compile(
    r".+_SERVICE_(?:HOST|PORT(?:_\w+)?)|.+_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?"
)
"""Kubernetes and Docker links set these for each service, such as one that is called ``ledger``."""

_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://[\d.\[\]:a-f]+")
_LONG = 8
"""Letters from which on a name may be two edits away; shorter ones are near to too many words."""


class Unknown(NamedTuple):
    """A variable that is probably a mistake: its name, its source, and what was probably meant."""

    name: str
    source: str
    meant: str

    def __str__(self) -> str:
        return f"{self.name} ({self.source}) is no setting and has no effect; {self.meant}"


def unknown_names(others: Iterable[Found], known: Collection[str]) -> Iterator[Unknown]:
    """Yield what of ``others`` looks like one of the ``known`` names."""
    names = sorted({*known, SECRETS})
    prefixes = {name.partition("_")[0] for name in names if "_" in name} - _SHARED
    for found in others:
        name = re.sub(r"[.-]", "_", found.name)
        if found.name in names or name in _OTHERS or _is_of_a_service(name, found.text):
            continue
        if name in _SIGN_INS:
            yield Unknown(found.name, found.source, _SIGN_INS[name])
        elif near := _near(name, names):
            yield Unknown(found.name, found.source, f"did you mean {near}?")
        elif (prefix := name.partition("_")[0]) in prefixes and "_" in name:
            yield Unknown(found.name, found.source, _meant(name, prefix, names))


def _is_of_a_service(name: str, text: str) -> bool:
    return bool(_SERVICE.fullmatch(name) or _SERVICE_URL.fullmatch(text))


def _near(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is an edit away, or two from a long name."""
    most = 2 if len(name) >= _LONG else 1
    # Most names differ at both ends; to compare all letters of all would take 20 ms of a cold start.
    alike = (each for each in names if each[:3] == name[:3] or each[-3:] == name[-3:])
    near = [(edits, each) for each in alike if (edits := _edits(name, each, most)) <= most]
    return min(near)[1] if near else None


def _meant(name: str, prefix: str, names: Iterable[str]) -> str:
    same = [each for each in names if each.startswith(f"{prefix}_")]
    if close := get_close_matches(name, same, 1, 0.7):
        return f"did you mean {close[0]}?"
    return f"those with {prefix}_ are {', '.join(same)}"


def _edits(one: str, other: str, most: int) -> int:
    """Return how many letters differ, are missing, too many, or swapped; beyond ``most`` is not counted."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
