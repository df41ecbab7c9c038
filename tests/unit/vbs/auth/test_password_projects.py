"""Tests of the sign-in by password for many projects: each has its token, and made-up ones cost little."""

from collections import Counter

from tests.unit.vbs.auth.cloud import C, Cloud, Session
from tests.unit.vbs.world import OTHER_PROJECT, PROJECT


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
