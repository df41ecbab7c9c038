"""Runs the cases with the function, called with batches of bodies as a FunctionGraph trigger calls it."""

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from events.message import Message
from handler import function
from tests.chaos.rabbit import Rabbit
from tests.chaos.site import Site
from tests.conformance.cases import Case
from tests.conformance.runners import WorkerRunner
from tests.twins.context import FakeContext

BATCH = 10
IDLE_SECONDS = 0.05


def carried(cases: Sequence[Case]) -> Sequence[Case]:
    """Return the cases that a trigger can deliver: it passes bodies alone, as texts."""
    return [case for case in cases if not case.queue_only and all(map(_is_carried, case.messages))]


def _is_carried(message: Message) -> bool:
    try:
        message.body.decode()
    except UnicodeDecodeError:
        return False
    return not message.headers and not message.properties


@dataclass(frozen=True)
class FunctionRunner(WorkerRunner):
    """Runs all cases at once with a function instance, a real broker and the emulator over sockets."""

    @contextmanager
    def _at_work(self, site: Site) -> Iterator[None]:
        stop = threading.Event()
        trigger = threading.Thread(target=_trigger, args=(site, stop), name="trigger")
        root = logging.getLogger()
        before = list(root.handlers), root.level
        trigger.start()
        try:
            yield
        finally:
            stop.set()
            trigger.join()
            root.handlers, _ = before
            root.setLevel(before[1])


def _trigger(site: Site, stop: threading.Event) -> None:
    """Poll the queue, acknowledge at once, and call the function with the messages."""
    context = FakeContext(site.environment)
    with Rabbit(site.amqp_url) as rabbit:
        while not stop.is_set():
            bodies = [body.decode() for _, body in islice(rabbit.take_all(site.queues[0]), BATCH)]
            if bodies:
                record = {"messages": bodies, "exchange": site.queues[0]}
                event = {"trigger_type": "RABBITMQ", "records": [record]}
                function.handler(json.loads(json.dumps(event)), context)
            else:
                stop.wait(IDLE_SECONDS)
    function.close()
