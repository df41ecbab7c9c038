"""A create call's request, signed by an access key, without httpx's objects: see ``handler.vbs.lean``."""

import hashlib
from datetime import UTC, datetime

import httpx

from handler.vbs.auth.keys import Keys, sdk_date, sign_request
from handler.vbs.auth.signer import signature_of
from handler.vbs.lean import NO_LENGTH, Gaps, head_of, length

_MARK = datetime.fromtimestamp(0, UTC)


class SignedRequest:
    """The request and its canonical form: project, date, length, body and signature are missing."""

    def __init__(self, request: httpx.Request, project: str, keys: Keys) -> None:
        request.extensions["project_id"] = project
        signature = sign_request(request, keys, _MARK)
        date = sdk_date(_MARK).encode()
        end = signature.authorization.rpartition("=")[2].encode()
        head = head_of(request).removesuffix(end + b"\r\n")
        no_body = hashlib.sha256(b"").hexdigest().encode()
        canonical = signature.canonical_request.encode().removesuffix(no_body)
        self._head = Gaps(head, project, NO_LENGTH, b"X-Sdk-Date: " + date)
        self._canonical = Gaps(canonical, project, b"x-sdk-date:" + date)
        self._secret = keys.secret_key

    def message(self, project_id: str, _line: bytes, body: bytes) -> bytes:
        """Return the bytes of a whole request, signed now."""
        date, project = sdk_date(datetime.now(UTC)), project_id.encode()
        sent_at = date.encode()
        canonical = self._canonical.filled(project, b"x-sdk-date:" + sent_at)
        _, signature = signature_of(self._secret, date, canonical + hashlib.sha256(body).hexdigest().encode())
        head = self._head.filled(project, length(body), b"X-Sdk-Date: " + sent_at)
        return b"".join((head, signature.encode(), b"\r\n\r\n", body))
