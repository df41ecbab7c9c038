"""Tests of sign-ins that are bound to one project, and of the catalogue that a token has."""

import asyncio

import pytest

from handler.errors import ApiError
from handler.vbs.auth.account import Account, Domain, Identity, Scope, User
from handler.vbs.auth.aksk import AkSkAuth
from handler.vbs.auth.catalogue import Catalogue, Endpoint, Service, catalogue_of, read_catalogue
from handler.vbs.auth.keys import Keys
from handler.vbs.auth.token import TokenAuth
from tests.unit.vbs.auth.cloud import AUTH_URL, C, Cloud, Session
from tests.unit.vbs.world import PROJECT

pytestmark = pytest.mark.usefixtures("each_way")

OTHER = "0" * 32
USER = User(None, "u", Domain(name="Default"))
CREDENTIAL = Account(
    AUTH_URL, Identity("application_credential", "s3cret", None, User("c1")), None, check="the credential"
)
TRUST = Account(AUTH_URL, Identity("password", "p", USER), Scope("trust", "t1"))
DOMAIN = Account(AUTH_URL, Identity("password", "p", USER), Scope("domain", None, "acme"))
CATALOG = [
    {
        "type": "volumev3",
        "name": "cinderv3",
        "id": "1",
        "endpoints": [
            {
                "interface": "public",
                "region_id": "R1",
                "region": "R1",
                "url": f"https://v/v3/{PROJECT}",
                "id": "2",
            },
            {"interface": "internalURL", "region": "R1", "url": "http://10.0.0.5:8776/v3"},
        ],
    }
]


@pytest.mark.parametrize("account", [CREDENTIAL, TRUST])
def test_another_project_is_refused_without_asking_keystone(account: Account) -> None:
    """64 calls of two projects make one sign-in: those of the other project are that project's own (403)."""
    cloud = Cloud(own_project=PROJECT)

    async def use(session: Session) -> None:
        calls = [session.failure(OTHER) for _ in range(32)]
        errors, _ = await asyncio.gather(
            asyncio.gather(*calls), asyncio.gather(*(session.create() for _ in range(32)))
        )
        assert {(C.DENIED, 403, False)} == {(error.category, error.status, error.sent) for error in errors}
        assert "for project" in str(errors[0])

    cloud.run(use, account)
    assert (1, 32) == (len(cloud.scopes), cloud.posts)


def test_a_refused_credential_pauses_all_projects() -> None:
    """A wrong secret is tried once in two minutes, whichever projects the calls are of."""
    cloud = Cloud(iam_status=401)

    async def use(session: Session) -> None:
        await asyncio.gather(*(session.failure(f"{n:032x}") for n in range(20)))

    cloud.run(use, CREDENTIAL)
    assert 1 == len(cloud.scopes)


@pytest.mark.parametrize(
    ("message", "category"),
    [
        ("Could not find Application Credential: c1.", C.DENIED),
        ("Could not find project: p.", C.DENIED),
        ("The resource could not be found.", C.UNAVAILABLE),
    ],
)
def test_a_404_of_keystone_is_a_refusal_if_it_names_what_is_unknown(message: str, category: str) -> None:
    """A deleted credential is a refusal, which is not tried again at once; a wrong URL is no refusal."""
    body = {"error": {"code": 404, "message": message, "title": "Not Found"}}
    errors = []

    async def use(session: Session) -> None:
        errors.append(await session.failure())

    Cloud(iam_status=404, iam_body=body).run(use, CREDENTIAL)
    assert category == errors[0].category
    assert ("check the credential" in str(errors[0])) is (category == C.DENIED)


def test_an_account_of_a_domain_signs_in_to_the_project_of_each_event() -> None:
    """The domain's token proves the account; each project has a token of its own."""
    cloud = Cloud()

    async def use(session: Session) -> None:
        await session.create()
        await session.create(OTHER)

    cloud.run(use, DOMAIN)
    assert [{}, {"id": PROJECT}, {"id": OTHER}] == cloud.scopes


def test_the_catalogue_is_that_of_our_own_projects_token() -> None:
    """It needs one sign-in, whose token the calls use too."""
    cloud = Cloud(catalog=CATALOG, own_project=PROJECT)
    found: list[Catalogue | None] = []

    async def use(session: Session) -> None:
        found.append(await catalogue_of(session.auth))
        await session.create()
        found.append(await catalogue_of(session.auth))

    cloud.run(use, CREDENTIAL)
    endpoints = (
        Endpoint("public", "R1", f"https://v/v3/{PROJECT}"),
        Endpoint("internal", "R1", "http://10.0.0.5:8776/v3"),
    )
    assert [Catalogue(PROJECT, (Service("volumev3", "cinderv3", endpoints),))] * 2 == found
    assert 1 == len(cloud.scopes)


def test_a_sign_in_without_a_catalogue_has_none() -> None:
    """A fixed token and signed requests have no catalogue."""

    async def found() -> list[Catalogue | None]:
        return [await catalogue_of(auth) for auth in (None, TokenAuth("t"), AkSkAuth(Keys("a", "s")))]

    assert [None, None, None] == asyncio.run(found())


def test_a_refused_sign_in_has_no_catalogue() -> None:
    """Asking for the catalogue of an account that is refused raises the refusal."""

    async def use(session: Session) -> None:
        with pytest.raises(ApiError) as caught:
            await catalogue_of(session.auth)
        assert C.DENIED == caught.value.category

    Cloud(iam_status=401).run(use, CREDENTIAL)


@pytest.mark.parametrize(
    "catalog",
    [None, "x", 7, {}, [7], [{}], [{"type": 7}], [{"type": ""}]],
)
def test_what_cannot_be_read_of_a_catalogue_is_left_out(catalog: object) -> None:
    """A catalogue of another form is an empty one, and raises nothing."""
    assert Catalogue("p") == read_catalogue({"catalog": catalog, "project": {"id": "p"}})


@pytest.mark.parametrize(
    "endpoints",
    [None, "x", {}, [7], [{"url": "u"}], [{"interface": "public"}], [{"url": 1, "interface": "p"}]],
)
def test_an_endpoint_that_cannot_be_read_is_left_out(endpoints: object) -> None:
    """A service stays, without the endpoints that have no URL or no interface."""
    found = read_catalogue({"catalog": [{"type": "volumev3", "endpoints": endpoints}]})

    assert Catalogue(None, (Service("volumev3", "volumev3", ()),)) == found
