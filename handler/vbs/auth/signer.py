"""The request signature of Huawei Cloud's API gateway (SDK-HMAC-SHA256), as a pure function.

https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm.html
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

_ALGORITHM = "SDK-HMAC-SHA256"
_DATE = "x-sdk-date"
_CONTENT = "x-sdk-content-sha256"


class Signature(NamedTuple):
    """The value of the ``Authorization`` header, and the two texts that it is computed from."""

    authorization: str
    canonical_request: str
    string_to_sign: str


def sign(
    access_key: str,
    secret_key: str,
    *,
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    body: bytes,
) -> Signature:
    """Sign a request.

    All ``headers`` are signed, except those with ``_`` in their names, which gateways drop. ``Host`` and
    ``X-Sdk-Date`` (UTC, ``20240102T030405Z``) must be among them. Raises ``KeyError`` if the date is missing.
    """
    values = {name.lower(): value.strip() for name, value in headers.items()}
    signed = sorted(name for name in values if "_" not in name)
    canonical = "\n".join(
        (
            method.upper(),
            _canonical_path(path),
            canonical_query(query),
            *(f"{name}:{values[name]}" for name in signed),
            "",
            ";".join(signed),
            _payload_hash(values, body),
        )
    )
    to_sign, signature = signature_of(secret_key, values[_DATE], canonical.encode())
    authorization = (
        f"{_ALGORITHM} Access={access_key}, SignedHeaders={';'.join(signed)}, Signature={signature}"
    )
    return Signature(authorization, canonical, to_sign)


def signature_of(secret_key: str, date: str, canonical_request: bytes) -> tuple[str, str]:
    """Return the text to sign, and its signature."""
    to_sign = "\n".join((_ALGORITHM, date, hashlib.sha256(canonical_request).hexdigest()))
    return to_sign, hmac.digest(secret_key.encode(), to_sign.encode(), "sha256").hex()


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Return the query as it is signed, sorted by name and value; the request must send this form."""
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in sorted(query))


def _canonical_path(path: str) -> str:
    """Decode once, then encode each segment. Only this form ends in a slash; the request's path need not."""
    encoded = "/".join(_encode(segment) for segment in unquote(path).split("/"))
    return encoded if encoded.endswith("/") else f"{encoded}/"


def _payload_hash(values: Mapping[str, str], body: bytes) -> str:
    """Return the hash in ``X-Sdk-Content-Sha256`` if there is one and a body, else the body's SHA-256."""
    declared = values.get(_CONTENT) if body else None
    return declared or hashlib.sha256(body).hexdigest()


def _encode(text: str) -> str:
    return quote(text, safe="~")
