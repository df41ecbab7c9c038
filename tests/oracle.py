"""What OpenStack's own tools and this program send for the same options: the first token request of each."""

import asyncio
import importlib
import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
import pytest

from handler.settings import load_settings
from handler.vbs.auth.choose import select_sign_in
from handler.vbs.auth.identity import sign_in

TOKEN = {"token": {"expires_at": "2096-03-04T02:00:00.000000Z", "issued_at": "2026-03-04T02:00:00.000000Z"}}


class Sent(NamedTuple):
    """A token request."""

    url: str
    body: Any


def imported(name: str) -> Any:
    """Import a module of openstacksdk. Where it is not installed the test is skipped, and fails in CI."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason="openstacksdk is not installed")


def sent_by_us() -> Sent:
    """Return the token request that this program sends for its environment."""
    account = select_sign_in(load_settings(_env_file=None)).account
    assert account is not None
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(201, json=TOKEN, headers={"X-Subject-Token": "t" * 32})

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            await sign_in(client, account, account.home(), 5.0, catalogue=True)

    asyncio.run(run())
    return Sent(str(requests[0].url), json.loads(requests[0].content))


def sent_by_openstack(cloud: str | None = None, folder: Path | None = None) -> Sent:
    """Return the token request that openstacksdk and keystoneauth send for their environment.

    ``folder`` has ``clouds.yaml`` and perhaps the other files.
    """
    imported("openstack.config")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what becomes of its own features
        return _sent_by_openstack(cloud, folder)


def _sent_by_openstack(cloud: str | None, folder: Path | None) -> Sent:
    from keystoneauth1.session import Session
    from openstack import config

    files: dict[str, Any] = {
        f"{kind}_files": [str(path) for path in (folder or Path("/nonexistent")).glob(f"{stem}.*")]
        for kind, stem in (("config", "clouds"), ("secure", "secure"), ("vendor", "clouds-public"))
    }
    region: Any = config.OpenStackConfig(**files).get_one(cloud)
    sent: list[Sent] = []
    region._auth.get_access(Session(session=_recording(sent)))
    return sent[0]


def _recording(sent: list[Sent]) -> Any:
    """Return a session of requests that sends nothing: it answers discovery, and records token requests."""
    import requests

    class Recorder(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            url = str(request.url)
            answer = requests.Response()
            answer.request, answer.url, answer.status_code = request, url, 201
            document: object = TOKEN
            if request.method == "POST":
                sent.append(Sent(str(httpx.URL(url)), json.loads(cast("bytes", request.body))))
                answer.headers["X-Subject-Token"] = "t" * 32
            else:
                root = url.rstrip("/").removesuffix("/v3")
                link = {"rel": "self", "href": f"{root}/v3/"}
                version = {"id": "v3.14", "status": "stable", "links": [link]}
                answer.status_code = 200
                document = {"versions": {"values": [version]}}
            answer.headers["Content-Type"] = "application/json"
            answer._content = json.dumps(document).encode()
            return answer

        def close(self) -> None:
            """Close nothing."""

    session = requests.Session()
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, Recorder())
    return session
