"""Error answers, in the shapes that the real services send."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

# openstack/cinder cinder/api/openstack/wsgi.py, class Fault
FAULT_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
DEFAULT_MESSAGE = "The server has either erred or is incapable of performing the requested operation."
MAX_BODY_BYTES = 114_688


class ApiError(Exception):
    """An error answer: HTTP status, JSON body and additional headers."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the HTTP response."""
        return JSONResponse(self.body, self.status, self.headers)


def fault_body(status: int, message: str, code: int | str | None = None) -> dict[str, dict[str, object]]:
    """Return a body in the API page's form, `{"badRequest": {"code": …, "message": …}}`, named by status."""
    name = FAULT_NAMES.get(status, "computeFault")
    return {name: {"code": status if code is None else code, "message": message}}


def bad_request(message: str, code: int | str | None = None) -> ApiError:
    """Return a 400; `code` is an int, as in Cinder, or a dotted code of the vendor."""
    return ApiError(400, fault_body(400, message, code))


def not_found(kind: str, name: str) -> ApiError:
    """Return a 404; `kind` is Volume, Snapshot or Backup."""
    return ApiError(404, fault_body(404, f"{kind} {name} could not be found."))


def over_quota(message: str) -> ApiError:
    """Return the 413 that Cinder sends when a quota is used up."""
    body = fault_body(413, message)
    body["overLimit"]["retryAfter"] = "0"
    return ApiError(413, body, {"Retry-After": "0"})


def server_error() -> ApiError:
    """Return the 500 that Cinder sends for an empty body."""
    return ApiError(500, fault_body(500, DEFAULT_MESSAGE))


def unsupported_media_type() -> ApiError:
    """Return a 415."""
    return ApiError(415, fault_body(415, "Unsupported Content-Type"))


def outer(status: int, title: str, message: str) -> ApiError:
    """Return an error of the layers around Cinder: another shape, with HTML in the message."""
    return ApiError(
        status, {"message": f"{message}<br /><br />\n\n\n", "code": f"{status} {title}", "title": title}
    )


def too_large() -> ApiError:
    """Return the 413 for a body over the limit."""
    message = f"Request is too large. Larger than max_request_body_size ({MAX_BODY_BYTES})."
    return outer(413, "Request Entity Too Large", message)


def no_such_route() -> ApiError:
    """Return the 404 for an unknown path; it does not mean that a backup does not exist."""
    return outer(404, "Not Found", "The resource could not be found.")


def unauthorized(message: str, keystone: str) -> ApiError:
    """Return a 401 of Keystone; `keystone` is its address."""
    body = {"error": {"code": 401, "title": "Unauthorized", "message": message}}
    return ApiError(401, body, {"WWW-Authenticate": f'Keystone uri="{keystone}"'})


def gateway_error(status: int, code: str, message: str, request_id: str) -> ApiError:
    """Return an error of the vendor's API gateway, which is sent before a request reaches the service."""
    return ApiError(status, {"error_code": code, "error_msg": message, "request_id": request_id})
