"""Verification of requests that are signed with an access key (SDK-HMAC-SHA256).

Written from the vendor's description of the algorithm, deliberately without the client's signer: two
independent implementations that agree test each other.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote

ALGORITHM = "SDK-HMAC-SHA256"
WINDOW_SECONDS = 15 * 60
UNSIGNED = "UNSIGNED-PAYLOAD"
AUTHORIZATION = re.compile(
    ALGORITHM + r" Access=(?P<ak>[^,\s]+), ?SignedHeaders=(?P<headers>[^,\s]+), ?Signature=(?P<signature>\S+)"
)


class SignatureError(Exception):
    """The signature of a request is missing or wrong; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A received request: header names in lower case, path and query as sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def canonical_request(request: SignedRequest, signed_headers: list[str]) -> str:
    """Return the request in the canonical form that both sides sign."""
    headers = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in signed_headers)
    return "\n".join(
        [
            request.method,
            _canonical_path(request.path),
            _canonical_query(request.query),
            headers,
            ";".join(signed_headers),
            _payload_hash(request),
        ]
    )


def string_to_sign(canonical: str, date: str) -> str:
    """Return the text that the secret key signs."""
    return f"{ALGORITHM}\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"


def signature(secret: str, text: str) -> str:
    """Return the signature of a text."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def verify(request: SignedRequest, keys: Mapping[str, str], now: float) -> None:
    """Verify the signature and its date; `keys` maps access keys to secrets. Raises SignatureError."""
    match = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise SignatureError("authorization header missing or malformed")
    if match["ak"] not in keys:
        raise SignatureError("access key unknown")
    signed = match["headers"].split(";")
    if signed != sorted(signed) or "x-sdk-date" not in signed:
        raise SignatureError("signed headers must be sorted and have x-sdk-date among them")
    _check_payload_header(request)
    date = request.headers.get("x-sdk-date", "")
    text = string_to_sign(canonical_request(request, signed), date)
    if not hmac.compare_digest(signature(keys[match["ak"]], text), match["signature"]):
        raise SignatureError("signature does not match")
    _check_clock(date, now)


def _canonical_path(path: str) -> str:
    segments = [quote(segment, safe="-_.~") for segment in unquote(path).split("/")]
    canonical = "/".join(segments)
    return canonical if canonical.endswith("/") else canonical + "/"


def _canonical_query(query: str) -> str:
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)


def _payload_hash(request: SignedRequest) -> str:
    declared = request.headers.get("x-sdk-content-sha256")
    if declared and request.body:
        return declared
    return hashlib.sha256(request.body).hexdigest()


def _check_payload_header(request: SignedRequest) -> None:
    """Raise SignatureError unless the declared hash is the body's, or declares an unsigned body."""
    declared = request.headers.get("x-sdk-content-sha256")
    if declared and request.body and declared not in (UNSIGNED, hashlib.sha256(request.body).hexdigest()):
        raise SignatureError("x-sdk-content-sha256 is not the hash of the body")


def _check_clock(date: str, now: float) -> None:
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise SignatureError("x-sdk-date must be like 20200608T023900Z") from None
    if abs(now - signed_at) > WINDOW_SECONDS:
        raise SignatureError("x-sdk-date is more than 15 minutes off")
