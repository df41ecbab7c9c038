"""The name of a queue for outcomes: which names ``topology declare --outcomes-queue`` refuses, and why."""

from handler.broker.topology import Topology
from handler.printable import printable

_LONGEST = 255
_RESERVED = "amq."


def wrong_name(topology: Topology, name: str) -> str | None:
    """Return why a queue for outcomes cannot have this name, and what to do; None where it can."""
    if not name.strip():
        return "the name is empty; give one"
    if len(name.encode()) > _LONGEST:
        return f"the name is longer than {_LONGEST} bytes; give a shorter one"
    if printable(name) != name:
        # RabbitMQ leaves out line ends, and answers with another name than it was asked for.
        return "the name has a character that cannot be printed; give another one"
    if name.startswith(_RESERVED):
        return f"names that begin with {_RESERVED} belong to RabbitMQ; give another one"
    if name in {queue.name for queue in topology.queues()} or name.startswith(f"{topology.queue}.wait."):
        return f"{name} is a queue of this program, which would handle outcomes as events; give another one"
    return None
