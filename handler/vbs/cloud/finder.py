"""The finder of endpoints: where a cloud's backups and snapshots are, and in which version of the API.

The settings say it, else the catalogue of the token, which is the cloud's own; no event names a host. Backups
are at VBS or Cinder, snapshots at EVS or Cinder. What is found is kept, until calls fail as they would at a
wrong path.
"""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

from handler.backup.hooks import Call, OnCall, noop
from handler.vbs.cloud.catalogued import Found, Wanted, backups_in, snapshots_in, unusable
from handler.vbs.endpoints import HEADERS, Service
from handler.vbs.transport.body import Unreadable, parse_json, read_body
from handler.vbs.transport.unanswered import NO_ANSWER

if TYPE_CHECKING:
    from handler.vbs.auth.catalogue import Catalogue

_DISCOVERY_SECONDS: Final = 5.0
_KEPT_SECONDS: Final = 60.0


class Finder:
    """Implements ``handler.vbs.endpoints.Endpoints`` by settings and catalogue."""

    def __init__(
        self,
        wanted: Wanted,
        client: httpx.AsyncClient,
        auth: object = None,
        *,
        timeout: float = _DISCOVERY_SECONDS,
        notify: OnCall = noop,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = wanted
        self._client = client
        self._auth = auth
        self._timeout = min(timeout, _DISCOVERY_SECONDS)
        self._notify = notify
        self._clock = clock
        self._finding = asyncio.Lock()
        self._found_at = clock()
        self._negotiated = True
        self.backups: str | None = None
        """The root for backups, once it is found; the same for ``snapshots``."""
        self.snapshots: str | None = None
        if wanted.backups and wanted.version:
            self.backups = f"{wanted.backups}/{wanted.version}"
        if wanted.snapshots and wanted.version:
            self.snapshots = f"{wanted.snapshots}/{wanted.version}"

    async def find(self, service: Service) -> str:
        """Return the root of a service. Raises ``ApiError`` where the catalogue names no usable one."""
        async with self._finding:
            root = self.backups if service == "backups" else self.snapshots
            if root is None:
                found = await (self._for_backups() if service == "backups" else self._for_snapshots())
                version = self._wanted.version or found.version or await self._negotiate(found.base)
                root = f"{found.base}/{version}"
                self._found_at = self._clock()
                if service == "backups":
                    self.backups = root
                else:
                    self.snapshots = root
            return root

    def doubt(self) -> None:
        """Find them again before the next call, unless that was done just now: a call failed by its path."""
        if self._clock() - self._found_at < (_KEPT_SECONDS if self._negotiated else _DISCOVERY_SECONDS):
            return
        if not (self._wanted.backups and self._wanted.version):
            self.backups = None
        if not (self._wanted.snapshots and self._wanted.version):
            self.snapshots = None

    async def _for_backups(self) -> Found:
        if self._wanted.backups:
            return Found("", self._wanted.backups, None)
        catalogue = await self._catalogue()
        if catalogue is None:
            raise unusable("this sign-in has no catalogue: set VBS_ENDPOINT")
        return backups_in(catalogue, self._wanted)

    async def _for_snapshots(self) -> Found:
        """Return where snapshots are: by the catalogue of Huawei's clouds another host than the backups'."""
        if self._wanted.snapshots:
            return Found("", self._wanted.snapshots, None)
        catalogue = await self._catalogue()
        apart = catalogue and snapshots_in(catalogue, self._wanted)
        return apart or await self._for_backups()

    async def _catalogue(self) -> "Catalogue | None":
        if not hasattr(self._auth, "catalogue"):
            return None
        # Imported where it is used: a function's sign-in has no catalogue.
        from handler.vbs.auth.catalogue import catalogue_of

        return await catalogue_of(self._auth)

    async def _negotiate(self, base: str) -> str:
        """Return the version that an endpoint serves: v2 unless it names others without it.

        Without an answer that can be read it is v2 too, and if calls fail then, it is asked again.
        """
        began = time.perf_counter()
        status = None
        try:
            async with asyncio.timeout(self._timeout):
                request = httpx.Request("GET", f"{base}/", headers=HEADERS)
                request.extensions["timeout"] = httpx.Timeout(self._timeout).as_dict()
                response = await self._client.send(request, auth=None, stream=True, follow_redirects=False)
                status = response.status_code
                offered = versions_in(status, await read_body(response))
        except NO_ANSWER:
            offered = frozenset()
        finally:
            seconds = time.perf_counter() - began
            self._notify(Call("version", "GET", httpx.URL(base).host, status, seconds, time.time()))
        self._negotiated = bool(offered)
        return "v3" if "v3" in offered and "v2" not in offered else "v2"


def versions_in(status: int, body: bytes) -> frozenset[str]:
    """Return the versions that an answer names, such as ``v3``: Cinder's 300, or a 200."""
    if status not in (HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES):
        return frozenset()
    try:
        document = parse_json(body)
    except Unreadable:
        return frozenset()
    entries = document.get("versions") if isinstance(document, dict) else None
    ids = [each.get("id") for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    return frozenset(each.partition(".")[0] for each in ids if isinstance(each, str))
