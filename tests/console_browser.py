"""A browser for tests: it keeps cookies, reads the CSRF token of a page, and posts forms."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

import httpx
from starlette.types import ASGIApp

SECONDS = 60.0
TOKEN = "a-token-of-the-operators"
READ_TOKEN = "a-token-of-those-who-read"


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eevil\u2066\x1b[31m\x00",
    "javascript:alert(1)",
)
"""Names that producers could send, and what a page must not do with them."""


class Elements(HTMLParser):
    """Collects a page's tags, attributes and text, as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its attributes."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def injected(page: str) -> list[str]:
    """Return what a hostile text would have added to a page: elements, attributes, links, controls."""
    found = Elements(page)
    wrong = [tag for tag in found.tags if tag in ("img", "iframe", "object", "embed", "style")]
    wrong += ["script"] * (found.tags.count("script") - 1)  # htmx is one
    wrong += [name for name, _ in found.attributes if name.startswith("on")]
    wrong += [value for name, value in found.attributes if name in ("href", "action") and ":" in value]
    return wrong + sorted(set("\u202e\u2066\x1b\x00") & set(page))


class Browser:
    """Asks a console as a browser does; redirects are not followed."""

    def __init__(self, client: httpx.AsyncClient, runner: asyncio.Runner) -> None:
        self.client = client
        self._runner = runner

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as it is given."""
        return self._runner.run(self.client.request(method, path, **options))

    def json(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the API, with POST where there is a body; the request must succeed."""
        answer = self.get(path) if body is None else self.ask("POST", path, json=body)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json()

    def job(self, path: str, body: dict[str, Any]) -> Any:
        """Start a job, and return it when it has ended."""
        id_ = self.json(path, body)["id"]
        over = time.monotonic() + SECONDS
        while (job := self.json(f"/api/jobs/{id_}"))["state"] == "running":
            assert time.monotonic() < over, job
            self.pause()
        return job

    def pause(self) -> None:
        """Let the console work for a moment: it runs in this process, while a browser asks."""
        self._runner.run(asyncio.sleep(0.05))

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
