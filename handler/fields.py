"""The parsers of the settings' fields: text → value, with an error that ends with an example."""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BeforeValidator, SecretStr, ValidationInfo

from events.snapshot import canonical_project
from handler.addresses import ledger_url, management_url, readable_file
from handler.amqp_url import parse_amqp_url, split_addresses
from handler.slips import slip, slip_in_refused
from handler.values import (
    JSON_LIST,
    YEARS_100,
    Unusable,
    amounts,
    choice,
    decimal,
    flag,
    listed,
    pattern,
    trimmed,
    whole,
)

_LONGEST_DELAY = 4_294_967
"""Seconds: RabbitMQ stores a queue's message TTL in milliseconds as 32 bits."""

_LONGEST_SHORT_TEXT = 255
"""Bytes of a short string of AMQP."""

_SHORTEST_KEY = 16
INSECURE = (
    "would switch off the check of the server's certificate, so that anyone on the network could read the "
    "password; trust the server's authority instead, with OS_CACERT (in clouds.yaml, cacert)"
)
"""Why TLS without a check of the certificate is refused."""

_INTERFACE = choice("public", "internal", "admin")
_VERSION = pattern(r"v?3(?:\.[0-9]{1,3})?", "must be 3: Keystone no longer has version 2")
_PROJECT = pattern("[0-9A-Za-z_-]{1,64}", "must be a project's id: up to 64 letters, digits, _ and -")
_NAME = "letters, digits and the four characters . _ : -"


def checked(parse: Callable[[Any], object], example: str) -> BeforeValidator:
    """Return a validator whose error ends with an example: what was meant, if that is clear."""

    def validate(value: object, info: ValidationInfo) -> object:
        name = (info.field_name or "").upper()
        text = value if isinstance(value, str) else ""
        if wrong := slip(name, text):
            raise ValueError(f"{wrong}, such as {name}={example}")
        try:
            return parse(value)
        except ValueError as error:
            meant = error.meant if isinstance(error, Unusable) else ""
            why = slip_in_refused(text) or error
            raise ValueError(f"{why}, such as {name}={meant or example}") from None

    return BeforeValidator(validate)


def each_of(parse: Callable[[Any], object]) -> Callable[[object], Sequence[object]]:
    """Return a parser of lists, each part by the same parser."""
    return lambda value: tuple(map(parse, listed(value)))


def one_line(value: object) -> str:
    """Return one line of text that is UTF-8."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if any(ord(char) < 32 or "\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must be one line of UTF-8 without control characters")
    return text


def secret_line(value: object) -> SecretStr:
    """Return a secret: one line of text that is UTF-8."""
    return SecretStr(one_line(value))


def header_text(value: object) -> str:
    """Return a text that an HTTP header can carry."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one line of ASCII without spaces, since an HTTP header carries it")
    return text


def interface(value: object) -> str:
    """Return an interface of the service catalogue; older tools write ``publicURL``."""
    return _INTERFACE(trimmed(str(value)).removesuffix("URL"))


def insecure(value: object) -> bool:
    """Return false: TLS without a check of the server's certificate is refused."""
    if flag(value):
        raise ValueError(INSECURE)
    return False


def identity_version(value: object) -> str:
    """Return the version of Keystone's API, which is 3."""
    return _VERSION(value)


def broker_urls(value: object) -> Sequence[SecretStr]:
    """Return the addresses of the broker, checked."""
    if isinstance(value, str):
        value = split_addresses(value)
    urls = [each.get_secret_value() if isinstance(each, SecretStr) else str(each) for each in listed(value)]
    if not urls:
        raise ValueError("names no broker")
    for url in urls:
        parse_amqp_url(url)
    return tuple(map(SecretStr, urls))


def ledger_secret(value: object) -> SecretStr:
    """Return the ledger's URL, normalised."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    try:
        return SecretStr(ledger_url(text))
    except ValueError as error:
        meant = "postgresql://user:password@host:5432/database" if text.lower().startswith("postgres") else ""
        raise Unusable(str(error), meant) from None


def management_secret(value: object) -> SecretStr:
    """Return the URL of RabbitMQ's management API."""
    return SecretStr(management_url(value.get_secret_value() if isinstance(value, SecretStr) else str(value)))


def console_token(value: object) -> SecretStr:
    """Return the token that operators sign in with."""
    token = header_text(value)
    if len(token) < _SHORTEST_KEY:
        raise ValueError(
            f"must have at least {_SHORTEST_KEY} characters (openssl rand -hex 32 makes such a token)"
        )
    return SecretStr(token)


def state_key(value: object) -> SecretStr:
    """Return a key that authenticates waiting messages."""
    secret = secret_line(value)
    if len(secret.get_secret_value()) < _SHORTEST_KEY:
        raise ValueError(
            f"each key must have at least {_SHORTEST_KEY} characters (openssl rand -hex 32 makes one), the "
            "newest first"
        )
    return secret


def binding(value: object) -> tuple[str, str]:
    """Return an exchange and a routing key."""
    if isinstance(value, tuple):
        return value
    exchange, colon, key = (part.strip() for part in str(value).partition(":"))
    if not (colon and exchange and key):
        raise ValueError("each must be exchange:routing.key")
    if re.search(r"[;\s][^\s:;]+:", key):
        raise ValueError("has several bindings without a comma between them")
    if max(len(exchange.encode()), len(key.encode())) > _LONGEST_SHORT_TEXT:
        raise ValueError(f"neither exchange nor routing key can be longer than {_LONGEST_SHORT_TEXT} bytes")
    return exchange, key


def delays(value: object) -> Sequence[int]:
    """Return the delays of the wait queues, which grow."""
    try:
        found = tuple(map(whole(1, _LONGEST_DELAY), listed(value)))
    except ValueError:
        found = ()
    if not found or any(a >= b for a, b in itertools.pairwise(found)):
        meant = amounts(str(value), 1, _LONGEST_DELAY)
        raise Unusable(
            f"must be growing whole seconds from 1 to {_LONGEST_DELAY}, in digits with commas between them "
            "and without a letter for the unit",
            ",".join(map(str, sorted({*meant}))),
        )
    return found


def project_id(value: object) -> str:
    """Return a project's id as Keystone spells it."""
    return canonical_project(_PROJECT(value))


def name_patterns(value: object) -> Sequence[object]:
    r"""Return patterns of names, which have commas between them; a comma of a name is written ``\\,``."""
    if not isinstance(value, str):
        return listed(value)
    if JSON_LIST.match(value):
        return listed(value)  # which refuses it
    parts = re.findall(r"(?:\\.|[^,\n\\]|\\\Z)+", value)
    return [each for each in map(trimmed, parts) if each] or listed(value)


def short_name(longest: int, *also: str) -> Callable[[object], str]:
    """Return a parser of the names of queues and exchanges; ``amq.topic`` is an exchange of every broker."""
    parse = pattern(rf"[0-9A-Za-z._:-]{{1,{longest}}}", f"must be 1 to {longest} {_NAME}")

    def unreserved(value: object) -> str:
        name = parse(value)
        if name.startswith("amq.") and name not in also:
            raise ValueError("begins with amq., which is reserved for the names of the broker itself")
        return name

    return unreserved


def seconds(least: float, most: float = YEARS_100) -> Callable[[object], float]:
    """Return a parser of durations."""
    return decimal(least, most, "seconds")


def file(example: str) -> BeforeValidator:
    """Return the validator of a file that can be read."""
    return checked(lambda value: readable_file(str(value)), example)
