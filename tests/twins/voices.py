"""Bodies of error answers by who gives them: the API itself, Huawei's gateway, and everybody else on the way.

The foreign ones are as their makers document them, or as users have reported them. ``{status}`` stands for
the HTTP status.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

FOREIGN: Mapping[str, str] = {
    "empty": "",
    "nginx": "<html><head><title>{status} {phrase}</title></head><body><h1>{status}</h1>nginx</body></html>",
    "HAProxy": "<html><body><h1>{status} {phrase}</h1>\nNo server is available.</body>",
    "Apache": '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN"><html><h1>{phrase}</h1><p>maintenance</p>',
    "captive portal": '<html><form action="/login"><input name="password"></form></html>',
    "WebOb's text": "{status} {phrase}\n\nThe server is currently unavailable. Please try again later.\n\n",
    "Envoy": "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    "Istio": "RBAC: access denied",
    "Kubernetes ingress": "default backend - 404",
    "Traefik": "404 page not found",
    "Kong": '{{"message": "no Route matched with those values"}}',
    "Kong 3": '{{"message": "Unauthorized", "request_id": "5a3c1f0b7d"}}',
    "AWS API Gateway": '{{"message": "Forbidden"}}',
    "AWS": '{{"__type": "AccessDeniedException", "message": "no", "code": "AccessDenied"}}',
    "Azure API Management": '{{"statusCode": {status}, "message": "Access denied due to missing key"}}',
    "Azure": '{{"error": {{"code": "AuthorizationFailed", "message": "no"}}}}',
    "APISIX": '{{"error_msg": "404 Route Not Found"}}',
    "Tyk": '{{"error": "API is not accessible"}}',
    "WSO2": '{{"fault": {{"code": 900901, "message": "Invalid Credentials", "description": "no"}}}}',
    "Apigee": '{{"fault": {{"faultstring": "no", "detail": {{"errorcode": "oauth.v2.InvalidToken"}}}}}}',
    "Spring": '{{"timestamp": "2026-03-04T02:10:00Z", "status": {status}, "error": "no", "path": "/v2/p"}}',
    "Spring with a text": '{{"timestamp": 1, "status": {status}, "error": "e", "message": "m", "path": "/"}}',
    "Kubernetes": '{{"kind": "Status", "message": "no", "reason": "Forbidden", "code": {status}}}',
    "gRPC": '{{"code": 7, "message": "permission denied", "details": []}}',
    "Google": '{{"error": {{"code": {status}, "message": "no", "status": "PERMISSION_DENIED"}}}}',
    "RFC 9457": '{{"type": "about:blank", "title": "no", "status": {status}, "detail": "no"}}',
    "OAuth": '{{"error": "invalid_token", "error_description": "expired"}}',
    "FastAPI": '{{"detail": "Not Found"}}',
    "Elasticsearch": '{{"error": {{"code": {status}, "message": "no"}}, "status": {status}}}',
    "cut off": '{{"badRequest": {{"code": {status}, "message": "no"',
    "a list": '[{{"message": "no", "code": {status}}}]',
    "a text": '"no"',
}  # fmt: skip

GATEWAY: Sequence[tuple[int, Mapping[str, str]]] = [
    (status, {"error_code": code, "error_msg": text, "request_id": "9b1f5f8c0d8e4b0f"})
    for status, code, text in (
        (400, "APIGW.0201", "Bad request"),
        (413, "APIGW.0201", "Request entity too large"),
        (502, "APIGW.0201", "Backend unavailable"),
        (404, "APIGW.0101", "The API does not exist or has not been published in the environment"),
        (400, "APIGW.0106", "Orchestration error"),
        (401, "APIGW.0301", "Incorrect IAM authentication information: token expires"),
        (403, "APIGW.0302", "The IAM user is not allowed to access the API"),
        (403, "APIG.0304", "The app is not allowed to access the API"),
        (403, "APIGW.0402", "This IP address is not allowed"),
        (405, "APIGW.0502", "The app has been frozen"),
        (429, "APIGW.0308", "throttling threshold reached: policy user over ratelimit,limit:5,time:1 minute"),
        (500, "APIGW.0601", "Internal server error"),
        (403, "APIGW.9999", "A code that no list has"),
    )
]  # fmt: skip

OWN: Sequence[tuple[int, Mapping[str, Any]]] = [
    (400, {"badRequest": {"code": 400, "message": "m"}}),
    (400, {"badRequest": {"code": "XXXX", "message": "m"}}),  # as the documentation has it
    (413, {"overLimit": {"code": 413, "message": "m", "retryAfter": "0"}}),
    (413, {"overLimitFault": {"code": 413, "message": "m", "details": "d"}}),
    (500, {"computeFault": {"code": 500, "message": "m"}}),
    (500, {"cinderFault": {"code": 500, "message": "m"}}),
    (400, {"error": {"code": "VolumeBackup.0012", "message": "m"}}),
    (400, {"error": {"code": "EVS.9999", "message": "m"}, "request_id": "r"}),
    (401, {"error": {"code": 401, "message": "m", "title": "Unauthorized"}}),
    (400, {"error_code": "IAM.0011", "error_msg": "m", "request_id": "r"}),
    (404, {"message": "m<br /><br />", "code": "404 Not Found", "title": "Not Found"}),
]


def foreign_body(name: str, status: int) -> bytes:
    """Return a foreign body for a status."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    return FOREIGN[name].format(status=status, phrase=phrase).encode()
