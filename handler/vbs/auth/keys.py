"""An access key, and httpx's requests signed by it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from handler.vbs.auth.signer import Signature, canonical_query, sign


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key and its secret; a temporary key also has a security token and needs all three."""

    access_key: str
    secret_key: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


def sdk_date(now: datetime) -> str:
    """Return the time of a signature."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def sign_request(request: httpx.Request, keys: Keys, now: datetime) -> Signature:
    """Add ``Authorization`` and the headers that it covers. The body of ``request`` must be in memory."""
    query = request.url.params.multi_items()
    if query:
        request.url = request.url.copy_with(query=canonical_query(query).encode())
    headers = {
        "Host": request.headers["Host"],
        "X-Sdk-Date": sdk_date(now),
        "X-Project-Id": request.extensions.get("project_id"),
        "X-Security-Token": keys.security_token,
        "Content-Type": request.headers.get("Content-Type"),
    }
    signed = {name: value for name, value in headers.items() if value}
    request.headers.update(signed)
    signature = sign(
        keys.access_key,
        keys.secret_key,
        method=request.method,
        path=request.url.path,
        query=query,
        headers=signed,
        body=request.content,
    )
    request.headers["Authorization"] = signature.authorization
    return signature
