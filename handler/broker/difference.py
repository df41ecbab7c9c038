"""Parses the broker's text for a queue or exchange that exists with other arguments (406)."""

import re
from typing import Literal, NamedTuple

# Compiled when they are used, which is rare.
_HEAD = r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']*)'"
_TAIL = r"received (?P<wanted>.+?) but current is (?P<found>.+)$"
_VALUE = r"(?:the value )?'(?P<value>[^']*)'(?: of type '\w+')?$"

EFFECTS = {
    "durable": "it and its messages would be lost when the broker restarts",
    "x-queue-type": "waiting messages can be lost if it is classic, and no worker starts on the other type",
    "x-dead-letter-exchange": "rejected and expired messages would be lost, or go elsewhere",
    "x-dead-letter-strategy": "waiting messages can be lost when the broker is killed",
    "x-overflow": "messages would be dropped when it is full",
    "x-max-length": "when it holds so many messages, the broker drops or refuses further ones",
    "x-max-length-bytes": "when it holds so many bytes, the broker drops or refuses further messages",
    "x-message-ttl": "messages would expire at another time than planned",
    "x-expires": "the broker would delete it with its messages",
    "auto_delete": "the broker would delete it with its messages",
    "x-delivery-limit": "messages would be redelivered more, or less, often before they are dead-lettered; "
    "and the broker could drop dead letters that were listed often",
    "type": "messages would be routed otherwise",
}
"""The effect of a difference on messages, by the argument's name."""


class Difference(NamedTuple):
    """One argument of a queue or exchange that differs. Values are text; ``none`` means absent."""

    kind: Literal["queue", "exchange"]
    name: str
    argument: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.argument} is {self.means}, not {self.wanted}"

    @property
    def means(self) -> str:
        """The value found, or the default where it is absent and the default is known."""
        return "classic" if (self.argument, self.found) == ("x-queue-type", "none") else self.found

    @property
    def effect(self) -> str:
        """The effect on messages, where it is known."""
        return EFFECTS.get(self.argument, "")


def difference(text: str) -> Difference | None:
    """Parse the broker's text; None where it says something else. It may be truncated at 255 bytes."""
    head = re.search(_HEAD, text)
    if head is None:
        return None
    tail = re.search(_TAIL, text)
    wanted, found = (_value(tail["wanted"]), _value(tail["found"])) if tail else ("as wanted", "otherwise")
    kind: Literal["queue", "exchange"] = "queue" if head["kind"] == "queue" else "exchange"
    return Difference(kind, head["name"], head["argument"], wanted, found)


def _value(text: str) -> str:
    match = re.match(_VALUE, text)
    return match["value"] if match else text
