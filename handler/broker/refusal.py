"""Parses the broker's text for a refused binding (403, 404)."""

import re

from handler.broker.connection import ChannelClosed
from handler.broker.topology import Binding

_ACCESS_REFUSED, _NOT_FOUND = 403, 404

# Compiled when they are used, which is rare.
DENIED = r"access to (?P<kind>queue|exchange) '(?P<name>[^']*)'"
_MISSING = r"no (?P<kind>queue|exchange) '(?P<name>[^']*)'"


def denied_right(binding: Binding, text: str) -> tuple[str, str]:
    """Return the missing right, and the queue or exchange that it is for.

    A binding needs the right to write to the destination, which the broker checks first, and to read the
    source.
    """
    kind = "exchange" if binding.to_exchange else "queue"
    match = re.search(DENIED, text)
    if match and (match["kind"], match["name"]) == (kind, binding.destination):
        return "write", f"{kind} {binding.destination}"
    return "read", f"exchange {binding.source}"


def why_unbound(binding: Binding, error: ChannelClosed) -> str:
    """Return why a binding could not be made; the broker's own text where it is not one of these."""
    text = str(error)
    if error.code == _NOT_FOUND and (match := re.search(_MISSING, text)):
        return f"the {match['kind']} {match['name']} does not exist"
    if error.code == _ACCESS_REFUSED and re.search(DENIED, text):
        right, thing = denied_right(binding, text)
        return f"the user may not {right} {thing}"
    return text
