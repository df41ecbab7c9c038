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
from handler.vbs.auth.account import Account, Domain, Identity, Scope, User
from handler.vbs.auth.password import PasswordAuth
from handler.vbs.client import VbsClient
from tests.unit.vbs import world
from tests.unit.vbs.world import ACCEPTED, ENDPOINT, PROJECT, REQUEST, Clock

C = Category
REFUSED = {"error": {"code": 401, "message": "The request you have made requires authentication."}}
AUTH_URL = "http://127.0.0.1:5000/v3"


def password_account(
    auth_url: str = AUTH_URL, *, project_id: str | None = None, project_name: str | None = None
) -> Account:
    """Return an account that signs in by password, to a project by its id or its name."""
    domain = Domain(name="Default")
    scope = Scope("project", project_id, project_name, None if project_id else domain)
    return Account(auth_url, Identity("password", "p", User(None, "u", domain)), scope, check="OS_USERNAME")


@dataclass
class Cloud:
    """An API that accepts only live tokens, and the IAM that issues them."""

    lifetime: float = 3600.0
    iam_status: int = 201
    iam_body: dict[str, Any] = field(default_factory=lambda: REFUSED)
    iam_headers: dict[str, str] = field(default_factory=dict)
    refused_projects: set[str] = field(default_factory=set)
    named: dict[str, str] = field(default_factory=dict)
    own_project: str | None = None
    """The project of an application credential."""
    catalog: list[dict[str, Any]] = field(default_factory=list)
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
        scope = json.loads(request.content)["auth"].get("scope", {}).get("project", {})
        self.scopes.append(scope)
        if self.before_grant:
            await self.before_grant()
        project = scope.get("id") or self.named.get(scope.get("name", ""), self.own_project)
        if self.iam_status != 201 or project in self.refused_projects:
            status = 401 if self.iam_status == 201 else self.iam_status
            return httpx.Response(status, json=self.iam_body, headers=self.iam_headers)
        token = f"token-{len(self.scopes)}"
        self.live[token] = project or ""
        times = {"issued_at": "2026-03-04T02:00:00.000000Z", "expires_at": _later(self.lifetime)}
        body = {"token": {**times, "project": {"id": project}, "catalog": self.catalog}}
        return httpx.Response(201, json=body, headers={"X-Subject-Token": token})

    def run(
        self, use: "Callable[[Session], Awaitable[None]]", who: Account | None = None, **scope: str
    ) -> None:
        """Run ``use`` with a client that signs in, by default by password."""
        account = who or password_account(**(scope or {"project_id": PROJECT}))

        async def session() -> None:
            async with world.make_client(self) as client:
                auth = PasswordAuth(client, account, clock=self.clock)
                await use(Session(VbsClient(client, ENDPOINT, auth=auth), auth))

        asyncio.run(session())


@dataclass
class Session:
    """A signed-in client, for short tests."""

    api: VbsClient
    auth: PasswordAuth

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
