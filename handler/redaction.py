"""The secrets that this process holds, and their removal from every text that leaves it.

Redaction is by value, so that it does not matter who quotes a secret: a library's error, an API's answer, a
traceback. Code that reads a secret holds it here; ``redacted`` is applied where text leaves: log
lines, failures of outcomes and dead letters, errors and findings that are printed.
"""

import json
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK: Final = "***"

_SHORTEST = 4
"""Characters. What is shorter keeps nothing secret, and is part of too many words."""

_WORD = 8
"""A password shorter than this is replaced only where it stands alone: «test» is part of «latest»."""

_PUBLIC = frozenset({"guest", "none", "null"})
"""Values that are no secret: RabbitMQ's default user, and what stands for no value."""

_MOST_TOKENS = 2048
_TOKEN_BEGIN = 32

_held: dict[str, None] = {}
_tokens: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None


def hold(*secrets: str | None) -> None:
    """Remember secrets for as long as the process lives, in each form in which they may be quoted."""
    global _pattern
    new = {form for secret in secrets if secret for form in _forms(secret)} - _held.keys()
    if new:
        _held.update(dict.fromkeys(new))
        longest_first = sorted(_held, key=len, reverse=True)
        _pattern = re.compile("|".join(map(_expression, longest_first)))


def hold_token(token: str | None) -> None:
    """Remember a token, one of many that follow each other; the oldest are forgotten."""
    if not token or len(token) < _SHORTEST:
        return
    begin = token[:_TOKEN_BEGIN]
    if begin not in _tokens:
        _tokens[begin] = None
        if len(_tokens) > _MOST_TOKENS:
            _tokens.pop(next(iter(_tokens)), None)


def hold_urls(text: str) -> None:
    """Remember the passwords of one URL, or of several in a list, also where they are not escaped."""
    for url in re.split(r"[,\s]+(?=[A-Za-z0-9+.-]+://)", text):
        hold(*_passwords(url.strip()))


def forget() -> None:
    """Forget all secrets, as a new process would."""
    global _pattern
    _held.clear()
    _tokens.clear()
    _pattern = None


def redacted(text: str) -> str:
    """Return the text with each secret that is held replaced by ``MASK``."""
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    for begin in tuple(_tokens):
        if begin in text:
            # A token may have been cut, so what follows its beginning goes with it.
            text = re.sub(re.escape(begin) + r"[\w+/=.~-]*", MASK, text)
    return text


def install_excepthook() -> None:
    """Let the traceback of an error that ends the process show no secret."""
    sys.excepthook = _print_redacted


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _forms(secret: str) -> Iterator[str]:
    """Yield the secret as it is, %-encoded or decoded, and as JSON and Python write it."""
    for text in (secret, secret.strip(), unquote(secret)):
        for form in (
            text,
            quote(text, safe="", errors="surrogatepass"),
            quote(text, errors="surrogatepass"),
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            repr(text)[1:-1],
        ):
            if len(form) >= _SHORTEST and form not in _PUBLIC:
                yield form


def _expression(form: str) -> str:
    escaped = re.escape(form)
    if len(form) < _WORD and form.isalnum():
        return rf"(?<![^\W_]){escaped}(?![^\W_])"
    return escaped


def _passwords(url: str) -> Iterable[str]:
    yield from (value for name, value in _query(url) if "password" in name.lower())
    _, _, password = _user_info(url).partition(":")
    yield password
    # A bare @, / or # in it makes libraries take a part of it for the host or the path, and name that.
    yield from re.split(r"[@/?#:,]", password)


def _query(url: str) -> Iterable[tuple[str, str]]:
    try:
        return parse_qsl(url.partition("?")[2])
    except ValueError:
        return ()


def _user_info(url: str) -> str:
    """Return all that is before the last @ of a URL, where that can be user and password."""
    before = (url.partition("://")[2] or url).rpartition("@")[0]
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where a part of a password stands for it
    except ValueError:
        return before
    return before if "@" in parts.netloc + parts.path else ""
