"""A browser for tests: it keeps cookies, reads the CSRF token of a page, and posts forms."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.types import ASGIApp

TOKEN = "a-token-of-the-operators"


class Browser:
    """Asks a console as a browser does; redirects are not followed."""

    def __init__(self, client: httpx.AsyncClient, runner: asyncio.Runner) -> None:
        self.client = client
        self._runner = runner

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as it is given."""
        return self._runner.run(self.client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Get a page."""
        return self.ask("GET", path, **options)

    def csrf_token(self, path: str = "/sign-in") -> str:
        """Return the token of the first form of a page."""
        found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', self.get(path).text)
        assert found, f"{path} has no form with a token"
        return found[1]

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """Post a form as a page of this console does, but for other ``headers``."""
        own = {"Origin": str(self.client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
        return self.ask("POST", path, data=fields, headers=own | (headers or {}))

    def sign_in(self, token: str = TOKEN, **fields: Any) -> httpx.Response:
        """Fill in the form of the sign-in."""
        return self.post("/sign-in", token=token, csrf_token=self.csrf_token(), **fields)


@contextmanager
def browsing(app: ASGIApp, url: str = "http://127.0.0.1:8090") -> Iterator[Browser]:
    """Open a browser at an application that is called in this process."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(transport=transport, base_url=url)
        yield Browser(client, runner)
        runner.run(client.aclose())
