"""The pages that need no sign-in: the sign-in itself, sign-out, and the static files."""

import logging
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from handler.console.web.forms import form
from handler.console.web.guard import SIGN_IN, SIGN_OUT, client_of, too_many
from handler.console.web.rendering import STATIC, static_files
from handler.console.web.site import Site

log = logging.getLogger(__name__)


class Entrance:
    """Signs in and out, and serves the static files."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = static_files()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(SIGN_IN, self.show, methods=["GET"]),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route(SIGN_OUT, self.sign_out, methods=["POST"]),
            Route("/static/{name}", self.static, methods=["GET"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show the form."""
        if not self._site.sign_in.needed:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        return self._page(request, _own_path(request.query_params.get("next", "/")))

    async def sign_in(self, request: Request) -> Response:
        """Compare the token, and begin a new session: the old cookie may be known to others."""
        fields = await form(request, self._site.sessions)
        address = client_of(request)
        if seconds := self._site.sign_in.wait_seconds(address):
            return too_many(request, seconds)
        target = _own_path(fields.get("next", ("/",))[0])
        role = self._site.sign_in.role_of(fields.get("token", ("",))[0], address)
        if role is None:
            log.warning("a wrong token came from %s", address, extra={"action": "console.refused"})
            return self._page(request, target, "This is not the token.", HTTPStatus.FORBIDDEN)
        request.state.new_session = self._site.sessions.begin(role)
        log.info(
            "an operator signed in from %s, and may %s", address, role, extra={"action": "console.signed_in"}
        )
        return RedirectResponse(target, HTTPStatus.SEE_OTHER)

    async def sign_out(self, request: Request) -> Response:
        """Replace the session by one that is not signed in."""
        await form(request, self._site.sessions)
        request.state.new_session = self._site.sessions.begin()
        return RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)

    async def static(self, request: Request) -> Response:
        """Serve a static file."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such file")
        return Response(
            self._files[name],
            media_type=STATIC[name],
            headers={"Cache-Control": "public, max-age=600"},
        )

    def _page(
        self, request: Request, target: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        return self._site.pages.page(request, "sign_in.html", status, next=target, problem=problem)


def _own_path(text: str) -> str:
    """Return a path of this site; anything else becomes the first page."""
    own = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if own else "/"
