"""Microversions of Cinder's API: the newest one that an endpoint knows, asked for once.

Fields of newer microversions are refused by older ones, so they are sent only where the endpoint's version
document promises them. What cannot be learned is not sent.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from events.outcome import Category
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from handler.vbs.transport.body import Unreadable, parse_json

log = logging.getLogger(__name__)

HEADER = "OpenStack-API-Version"
ASK_AGAIN_SECONDS = 600.0
_ANY = ""
_REMEMBERED = 1024
_VERSION = r"(\d{1,4})\.(\d{1,4})"


class Microversion(NamedTuple):
    """A microversion of the block storage API."""

    major: int
    minor: int

    def header(self) -> Mapping[str, str]:
        """Return the header that asks for this microversion; none for ``NONE``."""
        return {HEADER: f"volume {self.major}.{self.minor}"} if self != NONE else {}


NONE = Microversion(0, 0)
METADATA = Microversion(3, 43)
ZONE = Microversion(3, 51)

Ask = Callable[[str, str], Awaitable[Microversion]]


class Microversions:
    """The newest microversion of each endpoint.

    ``ask`` takes the endpoint's root, such as ``https://volume.example.com/v3``, and a project to sign in.
    """

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._known: dict[str, Microversion] = {}
        self._ask_at: dict[tuple[str, str], float] = {}
        self._asking: dict[str, asyncio.Event] = {}
        self._warned: set[str] = set()

    async def newest(self, root: str, project_id: str) -> Microversion:
        """Return the newest microversion of an endpoint; only v3 has microversions.

        If an endpoint does not tell it, it is asked again after ten minutes. A project whose sign-in fails
        does not keep others from asking.
        """
        if not root.endswith("/v3"):
            return NONE
        while root not in self._known and self._may_ask(root, project_id):
            if asking := self._asking.get(root):
                await asking.wait()
            else:
                await self._learn(root, project_id)
        return self._known.get(root, NONE)

    def _may_ask(self, root: str, project_id: str) -> bool:
        now = self._clock()
        return all(now >= self._ask_at.get((root, each), 0.0) for each in (_ANY, project_id))

    async def for_create(self, root: str, project_id: str, request: BackupRequest) -> Microversion:
        """Return the oldest microversion that knows the request's fields, as far as the API knows it."""
        newest = await self.newest(root, project_id)
        wanted = ZONE if request.availability_zone else METADATA
        if newest >= wanted:
            return wanted
        if (request.availability_zone or request.metadata) and root not in self._warned:
            self._warned.add(root)
            log.warning(_NOT_SENT, root, *wanted, extra=_ACTION)
        return METADATA if newest >= METADATA else NONE

    def refused(self, root: str) -> None:
        """Forget the microversion of an endpoint that refuses it: a node of another release answers there."""
        log.warning("%s refuses its microversions: none is asked for any more", root, extra=_ACTION)
        self._known[root] = NONE

    async def _learn(self, root: str, project_id: str) -> None:
        self._asking[root] = asyncio.Event()
        try:
            self._known[root] = newest = await self._ask(root, project_id)
            log.info("the newest microversion of %s is %d.%d", root, *newest, extra=_ACTION)
        except ApiError as error:
            if len(self._ask_at) >= _REMEMBERED:
                self._ask_at.clear()
            project = project_id if error.category is Category.DENIED else _ANY
            self._ask_at[root, project] = self._clock() + ASK_AGAIN_SECONDS
            log.info("%s tells no microversion: %s", root, error, extra=_ACTION)
        finally:
            self._asking.pop(root).set()


_NOT_SENT = "%s does not know microversion %d.%d: what RULES_FILE sets for it is not sent"
_ACTION = {"action": "api.microversion"}


_UNEXPECTED = r"Additional properties are not allowed \([^()]*'(?:metadata|availability_zone)'[^()]*\)$"
"""Cinder's text ends so. What comes before it may quote the event."""


def about_version(error: ApiError) -> bool:
    """Return whether a request was refused for its microversion, or for a field that came with it.

    A gateway that drops the header makes Cinder refuse the field.
    """
    if error.status == HTTPStatus.BAD_REQUEST:
        return re.search(_UNEXPECTED, error.message) is not None
    return error.status == HTTPStatus.NOT_ACCEPTABLE


def parse_versions(body: bytes) -> Microversion:
    """Return the newest microversion of v3 in a version document. Raises ``Unreadable`` if it has none."""
    document = parse_json(body)
    versions = document.get("versions") if isinstance(document, dict) else None
    for version in versions if isinstance(versions, list) else ():
        if isinstance(version, dict) and str(version.get("id")).startswith("v3"):
            found = re.fullmatch(_VERSION, str(version.get("version")))
            return Microversion(int(found[1]), int(found[2])) if found else NONE
    raise Unreadable("the answer has no version v3")
