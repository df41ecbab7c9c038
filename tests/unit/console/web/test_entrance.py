"""Who may come in: signing in, cookies, forged requests, and the headers of answers."""

import re
from http import HTTPStatus

import pytest

from handler.console.web.app import create_app, routes
from handler.console.web.sessions import COOKIE, SECONDS, Sessions
from handler.console.web.sign_in import MOST_ADDRESSES, MOST_WRONG, WINDOW, SignIn
from handler.console.web.site import make_site
from handler.settings import Settings
from tests.console_browser import TOKEN, Browser, browsing
from tests.twins.clock import Clock


def test_without_a_session_a_page_leads_to_the_sign_in_and_the_api_refuses(stranger: Browser) -> None:
    """Where a token is set, a page leads to the sign-in and back, and the API answers 401."""
    page, api = stranger.get("/waiting?reason=track"), stranger.get("/api/waiting")

    assert (303, "/sign-in?next=/waiting%3Freason%3Dtrack") == (page.status_code, page.headers["location"])
    assert (401, "Bearer") == (api.status_code, api.headers["www-authenticate"])
    assert {"error"} == set(api.json())


def test_every_route_but_the_entrance_needs_a_sign_in(stranger: Browser, settings: Settings) -> None:
    """No route answers a stranger, but for the sign-in and the static files."""
    let_in = set()
    for route in routes(make_site(settings)):
        path = re.sub(r"{[a-z_:]+}", "x", route.path)
        for method in route.methods or ():
            answer = stranger.ask(method, path)
            if answer.status_code not in (303, 401):
                let_in.add((method, route.path, answer.status_code))

    assert {
        ("GET", "/sign-in", 200),
        ("HEAD", "/sign-in", 200),
        ("POST", "/sign-in", 403),
        ("GET", "/static/{name}", 404),
        ("HEAD", "/static/{name}", 404),
    } == let_in


def test_the_right_token_opens_a_session_and_leads_back(stranger: Browser) -> None:
    """After the right token the operator is back on the page that was asked for, with a safe cookie."""
    answer = stranger.sign_in()
    cookie = answer.headers["set-cookie"]

    assert (303, "/") == (answer.status_code, answer.headers["location"])
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SECONDS}"} <= set(cookie.split("; "))
    assert 200 == stranger.get("/waiting").status_code


def test_a_cookie_behind_a_proxy_with_tls_is_secure(stranger: Browser) -> None:
    """Where a proxy says that the browser came over https, the cookie is sent over https only."""
    assert (
        "; Secure" in stranger.get("/sign-in", headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
    )


@pytest.mark.parametrize(
    "token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "tökén of letters beyond ASCII", "\x00"]
)
def test_a_wrong_token_opens_nothing(stranger: Browser, token: str) -> None:
    """A wrong token is refused, and no page opens; neither does the token as a bearer."""
    assert 403 == stranger.sign_in(token).status_code
    assert 303 == stranger.get("/waiting").status_code


def test_wrong_tokens_are_limited_by_the_clients_address(stranger: Browser) -> None:
    """After ten wrong tokens the right one too is refused for a while, by form and by bearer."""
    statuses = [stranger.sign_in("wrong").status_code for _ in range(MOST_WRONG)]
    form, bearer = (
        stranger.sign_in(),
        stranger.get("/api/waiting", headers={"Authorization": f"Bearer {TOKEN}"}),
    )

    assert {403} == set(statuses)
    assert (429, 429) == (form.status_code, bearer.status_code)
    assert 0 < int(form.headers["retry-after"]) <= WINDOW + 1


def test_the_limit_ends_with_its_window_and_remembers_few_addresses() -> None:
    """An address may try again after the window, another one at once, and memory stays bounded."""
    clock = Clock(1000.0)
    sign_in = SignIn(Settings(_env_file=None, console_token=TOKEN).console_token, clock=clock)
    for _ in range(MOST_WRONG):
        sign_in.role_of("wrong", "10.0.0.1")
    assert sign_in.wait_seconds("10.0.0.1")
    assert not sign_in.wait_seconds("10.0.0.2")

    clock.now += WINDOW
    assert not sign_in.wait_seconds("10.0.0.1")
    for number in range(2 * MOST_ADDRESSES):
        sign_in.role_of("wrong", f"address {number}")
    assert MOST_ADDRESSES == len(sign_in._wrong)


def test_a_program_comes_in_with_the_token_as_a_bearer(stranger: Browser) -> None:
    """The API answers a program that sends the token; a wrong one is refused."""
    right, wrong = (
        stranger.get("/api/waiting", headers={"Authorization": f"Bearer {token}"})
        for token in (TOKEN, "wrong")
    )

    assert (503, "LEDGER_URL") == (right.status_code, right.json()["error"].partition(":")[0])
    assert 401 == wrong.status_code


def test_the_session_before_the_sign_in_is_not_the_one_after_it(stranger: Browser) -> None:
    """The sign-in begins a new session, so that a cookie that was planted before is worth nothing."""
    stranger.get("/sign-in")
    before = stranger.client.cookies[COOKIE]
    stranger.sign_in()
    after = stranger.client.cookies[COOKIE]
    stranger.client.cookies.clear()
    answer = stranger.get("/waiting", headers={"Cookie": f"{COOKIE}={before}"})

    assert before != after
    assert 303 == answer.status_code


def test_after_the_sign_out_the_browser_is_a_stranger(stranger: Browser) -> None:
    """Signing out replaces the cookie."""
    stranger.sign_in()
    answer = stranger.post("/sign-out", csrf_token=stranger.csrf_token("/waiting"))

    assert (303, "/sign-in") == (answer.status_code, answer.headers["location"])
    assert 303 == stranger.get("/waiting").status_code


@pytest.mark.parametrize("change", ["id", "expires", "role", "signature", "key", "empty", "junk"])
def test_a_forged_cookie_is_no_session(change: str) -> None:
    """A cookie with another id, end or right, another signature or key is none of ours."""
    sessions = Sessions(Clock(1000.0))
    id_, expires, role, signature = sessions.to_cookie(sessions.begin()).split(".")
    forged = {
        "id": f"{'0' * 32}.{expires}.{role}.{signature}",
        "expires": f"{id_}.{int(expires) + 1}.{role}.{signature}",
        "role": f"{id_}.{expires}.act.{signature}",
        "signature": f"{id_}.{expires}.{role}.{'0' * 64}",
        "key": Sessions(Clock(1000.0)).to_cookie(sessions.begin("act")),
        "empty": "",
        "junk": "a.b.c.d.\xe4",
    }

    assert sessions.from_cookie(f"{id_}.{expires}.{role}.{signature}") is not None
    assert sessions.from_cookie(forged[change]) is None


def test_a_session_ends_after_its_time() -> None:
    """A cookie that is too old is no session any more."""
    clock = Clock(1000.0)
    sessions = Sessions(clock)
    cookie = sessions.to_cookie(sessions.begin("act"))
    clock.now += SECONDS - 1
    assert sessions.from_cookie(cookie)

    clock.now += 1
    assert sessions.from_cookie(cookie) is None


FORGED = {
    "another origin": {"Origin": "http://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"},
    "a sandboxed frame": {"Origin": "null"},
    "by the browser's word": {"Sec-Fetch-Site": "cross-site"},
    "our name in another": {"Origin": "http://127.0.0.1:8090.evil.example"},
}


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
def test_a_forged_post_of_another_site_changes_nothing(browser: Browser, headers: dict[str, str]) -> None:
    """A post from another origin is refused, even with the right CSRF token and cookie."""
    answer = browser.post("/sign-out", headers=headers, csrf_token="0" * 64)

    assert (403, True) == (answer.status_code, "another site" in answer.text)


@pytest.mark.parametrize("token", [None, "", "0" * 64, "ä"])
def test_a_form_without_the_sessions_csrf_token_changes_nothing(browser: Browser, token: str | None) -> None:
    """A form that lacks the session's token is refused, where also no header tells its origin."""
    browser.get("/waiting")
    answer = browser.ask("POST", "/sign-out", data={} if token is None else {"csrf_token": token})

    assert (403, True) == (answer.status_code, "not of this session" in answer.text)


def test_every_form_needs_the_csrf_token_and_every_change_by_the_api_json(
    browser: Browser, settings: Settings
) -> None:
    """No route that changes something takes a form without the token, or JSON as a form would send it."""
    accepted = set()
    for route in routes(make_site(settings)):
        if "POST" in (route.methods or ()):
            path = re.sub(r"{[a-z_:]+}", "x", route.path)
            answer = browser.ask("POST", path, content="{}", headers={"Content-Type": "text/plain"})
            if answer.status_code not in (403, 415):
                accepted.add((route.path, answer.status_code))

    assert set() == accepted


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "10.0.0.1", "", "[", "a@b:"]
)
def test_without_a_token_another_host_name_is_refused(browser: Browser, host: str) -> None:
    """A page whose name resolves to this machine (DNS rebinding) reads nothing where nobody signs in."""
    answer = browser.get("/waiting", headers={"Host": host})

    assert (421, False) == (answer.status_code, "<html" in answer.text)


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost", "LOCALHOST:9999", "[::1]:8090", "127.0.0.2"])
def test_the_names_of_this_machine_are_served(browser: Browser, host: str) -> None:
    """A tunnel may have another port, and this machine has several names."""
    assert 200 == browser.get("/waiting", headers={"Host": host}).status_code


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/a\nb"]
)
def test_the_sign_in_leads_to_no_other_site(stranger: Browser, target: str) -> None:
    """A link to the sign-in that names another site leads to the first page."""
    answer = stranger.sign_in(next=target)

    assert (303, "/") == (answer.status_code, answer.headers["location"])


@pytest.mark.parametrize("path", ["/waiting", "/sign-in", "/nothing", "/api/waiting", "/static/console.css"])
def test_every_answer_has_the_headers_that_bind_a_browser(stranger: Browser, path: str) -> None:
    """Each answer forbids inline scripts and styles, other sites' content, frames, and guessing types."""
    headers = stranger.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))

    assert ("'none'", "'self'", "'self'") == (
        policy["default-src"],
        policy["script-src"],
        policy["style-src"],
    )
    assert ("'none'", "'self'", "'none'") == (
        policy["frame-ancestors"],
        policy["form-action"],
        policy["base-uri"],
    )
    assert ("nosniff", "DENY", "same-origin") == (
        headers["x-content-type-options"],
        headers["x-frame-options"],
        headers["referrer-policy"],
    )
    assert headers["cache-control"] == ("public, max-age=600" if path.startswith("/static/") else "no-store")


def test_a_page_of_the_console_has_no_inline_script_and_no_inline_style(browser: Browser) -> None:
    """The policy forbids them, so a page that had some would be broken."""
    for path in ("/snapshots?id=x", "/waiting", "/sign-in", "/nothing"):
        text = browser.get(path).text
        assert not re.search(r"<style|style=|<script>|\son[a-z]+=|javascript:", text), path


def test_a_request_that_is_too_large_is_refused(browser: Browser) -> None:
    """A form of a megabyte is not read to its end."""
    assert HTTPStatus.REQUEST_ENTITY_TOO_LARGE == browser.post("/sign-out", junk="x" * 1_000_000).status_code


def test_an_error_within_the_console_shows_no_text_of_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is answered with 500, and its text is in the log only."""
    site = make_site(settings)

    def fail() -> None:
        raise RuntimeError("the text of a bug")

    monkeypatch.setattr(site.ledger, "open", fail)
    with browsing(create_app(site)) as browser:
        answers = [browser.get("/waiting"), browser.get("/api/waiting")]

    assert [500, 500] == [answer.status_code for answer in answers]
    assert not any("the text of a bug" in answer.text for answer in answers)
