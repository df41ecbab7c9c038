"""Tests of the sign-in by password: many calls share one token request, and refusals cause no loop."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from handler.vbs.auth.account import Identity
from handler.vbs.auth.identity import token_url
from tests.unit.vbs.auth.cloud import C, Cloud, Session, password_account

pytestmark = pytest.mark.usefixtures("each_way")


def test_64_calls_at_expiry_make_one_token_request() -> None:
    """One call renews the expired token, and all 64 calls succeed."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        await session.create()
        cloud.clock.now += cloud.lifetime
        cloud.live.clear()
        cloud.before_grant = lambda: asyncio.sleep(0)
        await asyncio.gather(*(session.create() for _ in range(64)))

    cloud.run(use)
    assert (2, 65) == (len(cloud.scopes), cloud.posts)


def test_64_calls_with_a_revoked_token_make_one_token_request() -> None:
    """64 calls fail with a 401 and are not sent again; the next 64 calls share one new token."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        await session.create()
        cloud.live.clear()
        cloud.refused_together = asyncio.Barrier(64)
        errors = await asyncio.gather(*(session.failure() for _ in range(64)))
        assert {(C.DENIED, True, True)} == {(error.category, error.renewed, error.sent) for error in errors}
        await asyncio.gather(*(session.create() for _ in range(64)))

    cloud.run(use)
    assert (2, 1 + 2 * 64) == (len(cloud.scopes), cloud.posts)


def test_a_wrong_password_is_tried_once_per_pause() -> None:
    """64 concurrent calls make at most one sign-in per pause, so that IAM does not lock the account."""
    cloud = Cloud(iam_status=401)
    counts = []

    async def use(session: Session) -> None:
        for passed in (0, 119, 1, 239, 1):
            cloud.clock.now += passed
            await asyncio.gather(*(session.failure() for _ in range(64)))
            counts.append(len(cloud.scopes))

    cloud.run(use)
    assert ([1, 1, 2, 2, 3], 0) == (counts, cloud.posts)


def test_a_refused_sign_in_is_denied_with_the_rest_of_the_pause() -> None:
    """An error during the pause has the remaining seconds as retry_after."""
    cloud = Cloud(iam_status=401)
    errors = []

    async def use(session: Session) -> None:
        errors.append(await session.failure())
        cloud.clock.now += 20
        errors.append(await session.failure())

    cloud.run(use)
    assert [(C.DENIED, 401, None), (C.DENIED, 401, 100.0)] == [
        (e.category, e.status, e.retry_after) for e in errors
    ]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_of_iam_concerns_the_account(status: int) -> None:
    """A refusal of IAM becomes a 401, which affects all messages, unlike a 403 of the API."""
    errors = []

    async def use(session: Session) -> None:
        errors.append(await session.failure())

    body = {"error": {"code": status, "message": "no", "title": "No"}}
    Cloud(iam_status=status, iam_body=body).run(use)
    assert [(C.DENIED, 401)] == [(error.category, error.status) for error in errors]


def test_a_wrong_password_is_not_tried_for_each_project() -> None:
    """20 projects cause two sign-ins: of our own project, and of one more that might prove the account."""
    cloud = Cloud(iam_status=401)

    async def use(session: Session) -> None:
        await asyncio.gather(*(session.failure(f"{n:032x}") for n in range(20)))

    cloud.run(use)
    assert 2 == len(cloud.scopes)


def test_a_locked_account_is_not_used_for_15_minutes() -> None:
    """The client makes no sign-in during the lock, since each one would extend it."""
    cloud = Cloud(iam_status=401, iam_body={"error": {"code": 401, "message": "The account is locked."}})

    async def use(session: Session) -> None:
        for passed in (0, 899):
            cloud.clock.now += passed
            await session.failure()

    cloud.run(use)
    assert 1 == len(cloud.scopes)


@pytest.mark.parametrize("status", [404, 429, 500, 503, 302])
def test_a_failing_iam_is_unavailable_and_probed(status: int) -> None:
    """Concurrent calls share one failed sign-in, and the next call after one second signs in again."""
    cloud = Cloud(iam_status=status)
    errors = []

    async def use(session: Session) -> None:
        errors.extend(await asyncio.gather(*(session.failure() for _ in range(64))))
        cloud.iam_status = 201
        cloud.clock.now += 1
        await session.create()

    cloud.run(use)
    assert ({C.UNAVAILABLE}, 2) == ({e.category for e in errors}, len(cloud.scopes))


def test_a_lost_answer_of_iam_does_not_put_the_backup_in_doubt() -> None:
    """A failed sign-in is unavailable, since the create request was not sent."""

    async def cut() -> None:
        raise httpx.ReadError("cut")

    cloud = Cloud(before_grant=cut)
    errors = []

    async def use(session: Session) -> None:
        errors.append(await session.failure())

    cloud.run(use)
    assert (C.UNAVAILABLE, True, 0) == (errors[0].category, "sign-in" in errors[0].message, cloud.posts)


def test_a_token_is_used_until_it_expires_while_iam_is_down() -> None:
    """Renewal starts two minutes before expiry; until then an outage of IAM has no effect."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        await session.create()
        cloud.iam_status = 503
        cloud.clock.now += cloud.lifetime - 60
        await session.create()
        cloud.clock.now += 61
        await session.failure()

    cloud.run(use)
    assert 2 == cloud.posts


def test_a_short_lived_token_is_not_renewed_at_each_call() -> None:
    """Ten calls use one token of one minute; a margin of two minutes would renew it at each call."""
    cloud = Cloud(lifetime=60)

    async def use(session: Session) -> None:
        for _ in range(10):
            cloud.clock.now += 4
            await session.create()

    cloud.run(use)
    assert 1 == len(cloud.scopes)


class _Nothing(dict[str, str]):
    def __setitem__(self, key: str, value: str) -> None:
        """Drop the value."""


def test_a_token_that_the_api_always_refuses_causes_no_loop() -> None:
    """After one renewal the client does not call IAM for half a minute."""
    cloud = Cloud()
    errors = []

    async def use(session: Session) -> None:
        cloud.before_grant = _forget
        errors.extend([await session.failure() for _ in range(10)])

    async def _forget() -> None:
        cloud.live = _Nothing()

    cloud.run(use)
    assert 2 == len(cloud.scopes)
    assert {C.DENIED} == {error.category for error in errors}
    assert [True, *[False] * 9] == [error.renewed for error in errors]


def test_a_cancelled_caller_does_not_end_the_sign_in() -> None:
    """A second caller gets the token of a sign-in whose first caller was cancelled."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            asked.set()
            await go_on.wait()

        cloud.before_grant = hold
        first = asyncio.create_task(session.create())
        await asked.wait()
        second = asyncio.create_task(session.create())
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        go_on.set()
        await second

    cloud.run(use)
    assert (1, 1) == (len(cloud.scopes), cloud.posts)


@pytest.mark.parametrize(
    "url",
    [
        "https://iam.example.com",
        "https://iam.example.com/",
        "https://iam.example.com/v3",
        "https://iam.example.com/v3/",
    ],
)
def test_the_auth_url_may_end_in_its_version(url: str) -> None:
    """The token URL is the same with and without ``/v3`` and a final slash."""
    assert "https://iam.example.com/v3/auth/tokens" == token_url(url)


def test_a_repr_contains_no_secret() -> None:
    """The account's repr hides the password, which a traceback would otherwise write into the log."""
    account = replace(password_account(project_id="p"), identity=Identity("password", "hidden"))
    assert "hidden" not in repr(account)
