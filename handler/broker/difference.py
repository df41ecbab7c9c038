"""What the broker says where something of the same name was declared otherwise (406), taken apart."""

import re
from typing import Literal, NamedTuple

# Compiled when they are used: hardly a process ever meets one.
_HEAD = r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']*)'"
_TAIL = r"received (?P<wanted>.+?) but current is (?P<found>.+)$"
_VALUE = r"(?:the value )?'(?P<value>[^']*)'(?: of type '\w+')?$"

EFFECTS = {
    "durable": "a restart of the broker would lose it and all that it holds",
    "x-queue-type": "what waits can be lost where one is classic, and no worker starts on the other type",
    "x-dead-letter-exchange": "what is rejected or expires would vanish, or go elsewhere",
    "x-dead-letter-strategy": "what waits can be lost when the broker is killed",
    "x-overflow": "messages would be dropped when it is full",
    "x-max-length": "it is full after so many messages, and then drops or refuses them",
    "x-max-length-bytes": "it is full after so many bytes, and then drops or refuses messages",
    "x-message-ttl": "messages would leave it at another time than planned",
    "x-expires": "the broker would delete it with all that it holds",
    "auto_delete": "the broker would delete it with all that it holds",
    "x-delivery-limit": "messages would come back more, or less, often before they are dead letters; "
    "and dead letters could be dropped for having been looked at",
    "type": "messages would be routed otherwise",
}
"""What a difference does to messages, by the argument's name."""


class Difference(NamedTuple):
    """One argument of a queue or an exchange that is not as wanted; values as text, ``none`` is absent."""

    kind: Literal["queue", "exchange"]
    name: str
    argument: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.argument} is {self.means}, not {self.wanted}"

    @property
    def means(self) -> str:
        """What was found, where its absence means something."""
        return "classic" if (self.argument, self.found) == ("x-queue-type", "none") else self.found

    @property
    def effect(self) -> str:
        """What it does to messages, where that can be said."""
        return EFFECTS.get(self.argument, "")


def difference(text: str) -> Difference | None:
    """Read the broker's sentence; None where it is another one. It may be cut off: it has 255 bytes."""
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
