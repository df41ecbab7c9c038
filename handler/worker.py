"""The worker: consumes the queue, hands each message to ``process``, and acknowledges what it has handled.

One connection is one ``Shift``. How many messages are in flight is ``intake``'s to say. A message that came back
from a vanished consumer may be the reason why it vanished: it is handled alone, with nothing else in hand, so
that its neighbours are not counted down with it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from events.errors import MalformedEvent
from events.message import WAITING, Message, open_waiting, wrap
from handler.broker.consumer import Consumer, Delivery
from handler.broker.link import Link
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import Topology, bind_foreign, declare
from handler.errors import ConnectionLost, LedgerUnavailable
from handler.intake import Intake
from handler.ports import Ledger
from handler.process import Handled, Process
