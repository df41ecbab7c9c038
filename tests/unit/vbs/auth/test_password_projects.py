"""Tests of the sign-in by password for many projects: each has its token, and made-up ones cost little."""

from collections import Counter

import pytest

from tests.twins.voices import FOREIGN, foreign_body
from tests.unit.vbs.auth.cloud import C, Cloud, Session
from tests.unit.vbs.world import OTHER_PROJECT, PROJECT

pytestmark = pytest.mark.usefixtures("each_way")


def test_each_project_has_its_own_token() -> None:
    """A token is valid for one project; the API refuses it for another."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        for project in (PROJECT, OTHER_PROJECT, PROJECT, OTHER_PROJECT):
            await session.create(project)

    cloud.run(use)
    assert ([{"id": PROJECT}, {"id": OTHER_PROJECT}], 4) == (cloud.scopes, cloud.posts)


def test_a_project_without_rights_does_not_affect_other_projects() -> None:
    """The refused project gets a 403, and the account's own project still creates backups."""
    cloud = Cloud(refused_projects={OTHER_PROJECT})
    errors = []

    async def use(session: Session) -> None:
        await session.create()
        errors.append(await session.failure(OTHER_PROJECT))
        await session.create()

    cloud.run(use)
    assert [(C.DENIED, 403)] == [(error.category, error.status) for error in errors]


def test_a_project_configured_by_name_is_used_for_its_events() -> None:
    """The first sign-in by name returns the project's id, so its events use that token."""
    cloud = Cloud(named={"demo": PROJECT})

    async def use(session: Session) -> None:
        await session.create(PROJECT)
        await session.create(OTHER_PROJECT)

    cloud.run(use, project_name="demo")
    by_name = {"name": "demo", "domain": {"name": "Default"}}
    assert [by_name, {"id": OTHER_PROJECT}] == cloud.scopes


def test_made_up_projects_cost_few_sign_ins() -> None:
    """Sign-ins for unknown projects are limited: without a limit, 1,100 of them made 2,200 sign-ins."""
    made_up = [f"{number:032x}" for number in range(1_100)]
    cloud = Cloud(refused_projects=set(made_up))

    async def use(session: Session) -> None:
        await session.create()
        errors = [await session.failure(project) for project in made_up]
        assert {C.DENIED: 20, C.THROTTLED: 1_080} == Counter(error.category for error in errors)
        assert 1 + 2 * 20 == len(cloud.scopes)  # a second sign-in each shows whether the account is valid
        cloud.clock.now += 1
        await session.failure(made_up[-1])
        assert 1 + 2 * 21 == len(cloud.scopes)

    cloud.run(use)


def test_made_up_projects_do_not_displace_tokens_in_use() -> None:
    """A valid project keeps its token after more made-up projects than the client remembers."""
    made_up = [f"{number:032x}" for number in range(1_100)]
    cloud = Cloud(refused_projects=set(made_up))

    async def use(session: Session) -> None:
        await session.create(OTHER_PROJECT)
        for project in made_up:
            cloud.clock.now += 0.2
            await session.failure(project)
        before = len(cloud.scopes)
        await session.create(OTHER_PROJECT)
        assert before == len(cloud.scopes)

    cloud.run(use)


def test_a_refused_project_is_remembered_while_others_come() -> None:
    """The client refuses a remembered project again without a call to IAM."""
    made_up = [f"{number:032x}" for number in range(100)]
    cloud = Cloud(refused_projects=set(made_up))

    async def use(session: Session) -> None:
        for project in made_up:
            cloud.clock.now += 0.2
            await session.failure(project)
        before = len(cloud.scopes)
        assert C.DENIED == (await session.failure(made_up[0])).category
        assert before == len(cloud.scopes)

    cloud.run(use)


def test_a_project_that_had_a_token_is_not_a_new_one() -> None:
    """A flood of made-up projects does not delay the token renewal of a known project."""
    made_up = [f"{number:032x}" for number in range(100)]
    cloud = Cloud(refused_projects=set(made_up))

    async def use(session: Session) -> None:
        await session.create(OTHER_PROJECT)
        cloud.clock.now += cloud.lifetime
        for project in made_up:
            await session.failure(project)
        await session.create(OTHER_PROJECT)

    cloud.run(use)


REFUSED_BY_IAM = {"error": {"code": 401, "message": "no", "title": "Unauthorized"}}


def test_strangers_first_do_not_stop_our_own_project() -> None:
    """The first three events after a start are of projects without a role: our own signs in at once."""
    strangers = [f"{number:032x}" for number in range(3)]
    cloud = Cloud(refused_projects=set(strangers))

    async def use(session: Session) -> None:
        errors = [await session.failure(project) for project in strangers]
        assert [403] * 3 == [error.status for error in errors]
        await session.create()

    cloud.run(use)
    assert PROJECT == cloud.scopes[0]["id"]
    assert len(cloud.scopes) <= 2 + 2 * len(strangers)


def test_strangers_first_do_not_stop_a_project_that_is_set_by_name() -> None:
    """The same with OS_PROJECT_NAME."""
    cloud = Cloud(refused_projects={OTHER_PROJECT}, named={"demo": PROJECT})

    async def use(session: Session) -> None:
        assert 403 == (await session.failure(OTHER_PROJECT)).status
        await session.create()

    cloud.run(use, project_name="demo")


def test_a_wrong_project_of_the_settings_does_not_stop_the_others() -> None:
    """OS_PROJECT_ID is refused, but the password is right: other projects get their tokens."""
    cloud = Cloud(refused_projects={PROJECT})

    async def use(session: Session) -> None:
        await session.create(OTHER_PROJECT)
        await session.create(f"{1:032x}")
        cloud.refused_projects.add(f"{2:032x}")
        assert 403 == (await session.failure(f"{2:032x}")).status
        await session.create(f"{3:032x}")

    cloud.run(use)


def test_a_password_that_is_changed_is_tried_rarely_by_many_projects() -> None:
    """IAM locks an account after five refusals in 15 minutes: a hundred projects make no more together."""
    projects = [f"{number:032x}" for number in range(100)]
    cloud = Cloud(lifetime=600.0)

    async def use(session: Session) -> None:
        for project in projects:
            cloud.clock.now += 0.2
            await session.create(project)
        cloud.iam_status, cloud.iam_body = 401, REFUSED_BY_IAM
        cloud.clock.now += cloud.lifetime
        before = len(cloud.scopes)
        for second in range(900):
            cloud.clock.now += 1
            error = await session.failure(projects[second % 100])
            assert (C.DENIED, 401) == (error.category, error.status)
        assert len(cloud.scopes) - before <= 4

    cloud.run(use)


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 407, 429, 500, 503])
def test_what_a_proxy_answers_to_a_sign_in_refuses_no_account(status: int, name: str) -> None:
    """The token call meets a proxy's page: IAM is unavailable for a second, not the account refused."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        cloud.raw = status, foreign_body(name, status)
        error = await session.failure()
        assert C.UNAVAILABLE == error.category
        cloud.raw = None
        cloud.clock.now += 1
        await session.create()

    cloud.run(use)


@pytest.mark.parametrize("name", ["empty", "nginx", "Kong", "APISIX", "Spring"])
def test_a_proxys_401_right_after_the_sign_in_is_no_loop(name: str) -> None:
    """The sign-in succeeds, and a proxy answers 401 to each call: few sign-ins, and no call repeats."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        cloud.api_answer = 401, foreign_body(name, 401)
        for _ in range(60):
            assert C.DENIED == (await session.failure()).category
            cloud.clock.now += 1
        assert (3, 60) == (len(cloud.scopes), cloud.posts)
        cloud.api_answer = None
        await session.create()

    cloud.run(use)


def test_two_thousand_projects_sign_in_once_each() -> None:
    """Each project's token is kept until it expires, however many projects take turns."""
    cloud = Cloud()
    projects = [f"{number:032x}" for number in range(2000)]

    async def use(session: Session) -> None:
        for project in (*projects, *projects):
            await session.create(project)
            cloud.clock.now += 0.2

    cloud.run(use)
    assert 2 * len(projects) == cloud.posts
    assert len(projects) >= len(cloud.scopes) - 1  # our own project's comes first
