"""An API and its IAM in memory, and a client that signs in there by password."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from events.outcome import AcceptedBackup, Category
from handler.errors import ApiError
from handler.vbs.auth.identity import Account
from handler.vbs.auth.password import PasswordAuth
from handler.vbs.client import VbsClient
from tests.unit.vbs.world import ACCEPTED, ENDPOINT, PROJECT, REQUEST, Clock

C = Category
REFUSED = {"error": {"code": 401, "message": "The request you have made requires authentication."}}
AUTH_URL = "http://127.0.0.1:5000/v3"


@dataclass
class Cloud:
    """An API that accepts only live tokens, and the IAM that issues them."""

    lifetime: float = 3600.0
    iam_status: int = 201
    iam_body: dict[str, Any] = field(default_factory=lambda: REFUSED)
    iam_headers: dict[str, str] = field(default_factory=dict)
    refused_projects: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    live: dict[str, str] = field(default_factory=dict)
    posts: int = 0
    raw: tuple[int, bytes] | None = None
    """What a proxy before IAM answers."""
    api_answer: tuple[int, bytes] | None = None
    """What a proxy before the API answers."""
    refused_together: asyncio.Barrier | None = None
    before_grant: Callable[[], Awaitable[None]] | None = None
    clock: Clock = field(default_factory=Clock)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as IAM or as the API."""
        if request.url.path.endswith("/auth/tokens"):
            return _raw(self.raw) or await self._grant(request)
        self.posts += 1
        if answer := _raw(self.api_answer):
            return answer
        project = request.url.path.split("/")[2]
        if self.live.get(request.headers["X-Auth-Token"]) != project:
            if self.refused_together:
                await self.refused_together.wait()
            return httpx.Response(401, json=REFUSED)
        return httpx.Response(202, json=ACCEPTED)

    async def _grant(self, request: httpx.Request) -> httpx.Response:
        scope = json.loads(request.content)["auth"]["scope"]["project"]
        self.scopes.append(scope)
        if self.before_grant:
            await self.before_grant()
        project = scope.get("id") or self.named[scope["name"]]
        if self.iam_status != 201 or project in self.refused_projects:
            status = 401 if self.iam_status == 201 else self.iam_status
            return httpx.Response(status, json=self.iam_body, headers=self.iam_headers)
        token = f"token-{len(self.scopes)}"
        self.live[token] = project
        times = {"issued_at": "2026-03-04T02:00:00.000000Z", "expires_at": _later(self.lifetime)}
        body = {"token": {**times, "project": {"id": project}}}
        return httpx.Response(201, json=body, headers={"X-Subject-Token": token})

    def run(self, use: "Callable[[Session], Awaitable[None]]", **account: str) -> None:
        """Run ``use`` with a client that signs in by password."""

        async def session() -> None:
            scope = account or {"project_id": PROJECT}
            async with httpx.AsyncClient(transport=httpx.MockTransport(self)) as client:
                who = Account(auth_url=AUTH_URL, username="u", password="p", domain="Default", **scope)
                auth = PasswordAuth(client, who, clock=self.clock)
                await use(Session(VbsClient(client, ENDPOINT, auth=auth)))

        asyncio.run(session())


@dataclass
class Session:
    """A signed-in client, for short tests."""

    api: VbsClient

    async def create(self, project: str = PROJECT) -> AcceptedBackup:
        """Make one create call."""
        return await self.api.create(project, REQUEST)

    async def failure(self, project: str = PROJECT) -> ApiError:
        """Make one create call that must fail, and return its error."""
        with pytest.raises(ApiError) as caught:
            await self.create(project)
        return caught.value


def _raw(answer: tuple[int, bytes] | None) -> httpx.Response | None:
    return httpx.Response(answer[0], content=answer[1]) if answer else None


def _later(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"2026-03-04T{2 + hours:02d}:{minutes:02d}:{rest:02d}.000000Z"
