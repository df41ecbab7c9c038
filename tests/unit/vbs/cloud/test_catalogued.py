"""What real catalogues say about the endpoints of backups and snapshots."""

from collections.abc import Mapping

import pytest

from events.outcome import Category
from handler.vbs.auth.catalogue import Catalogue, Endpoint, Service, read_catalogue
from handler.vbs.cloud.catalogued import Found, Wanted, backups_in, snapshots_in
from tests.unit.vbs.world import PROJECT, failure

ANY = Wanted()


def catalogue(
    services: Mapping[str, str], *, region: str = "RegionOne", interface: str = "public"
) -> Catalogue:
    """Return a catalogue with one endpoint for each type of service; ``{}`` stands for the project."""
    return Catalogue(
        PROJECT,
        tuple(
            Service(kind, kind, (Endpoint(interface, region, url.format(PROJECT)),))
            for kind, url in services.items()
        ),
    )


DEVSTACK = {"block-storage": "https://cloud/volume/v3", "block-store": "https://cloud/volume/v3/{}"}
TRAIN = {"volumev2": "https://cinder:8776/v2/{}", "volumev3": "https://cinder:8776/v3/{}"}
OLD = {"volume": "https://cinder:8776/v1/{}", "volumev2": "https://cinder:8776/v2/{}"}
HUAWEI = {
    "volumev2": "https://evs.eu-west-0.example.com/v2/{}",
    "evs": "https://evs.eu-west-0.example.com/v2/{}",
    "vbs": "https://vbs.eu-west-0.example.com/v2/{}",
}
OTC = {"volumev2": "https://evs.eu-de.example.com/v2/{}", "volumev3": "https://evs.eu-de.example.com/v3/{}"}
V2, V3 = Wanted(version="v2"), Wanted(version="v3")


@pytest.mark.parametrize(
    ("services", "wanted", "base", "version"),
    [
        (DEVSTACK, ANY, "https://cloud/volume", "v3"),
        (TRAIN, ANY, "https://cinder:8776", "v3"),
        (TRAIN, V2, "https://cinder:8776", "v2"),
        (OLD, ANY, "https://cinder:8776", "v2"),
        (OLD, V3, "https://cinder:8776", "v2"),
        ({"volume": "https://cinder:8776/v1/{}"}, ANY, "https://cinder:8776", None),
        ({"volumev3": "https://api/volume/v3/$(tenant_id)s"}, ANY, "https://api/volume", "v3"),
        ({"volumev3": "https://api:8776/v3/%(project_id)s"}, ANY, "https://api:8776", "v3"),
        ({"block-storage": "https://api.example.com/volume/"}, ANY, "https://api.example.com/volume", None),
        ({"block-storage": "https://api/volume/AUTH_{}"}, ANY, "https://api/volume", None),
        ({"block-storage": "http://127.0.0.1:8776/v3.0/{}/"}, ANY, "http://127.0.0.1:8776", "v3"),
        (HUAWEI, ANY, "https://vbs.eu-west-0.example.com", "v2"),
        (OTC, ANY, "https://vbs.eu-de.example.com", "v3"),
        (OTC, V2, "https://vbs.eu-de.example.com", "v2"),
        ({"volumev3": "http://cinder/v3/{}"}, Wanted(allow_plaintext=True), "http://cinder", "v3"),
    ],
)
def test_backups_are_where_the_catalogue_says(
    services: Mapping[str, str], wanted: Wanted, base: str, version: str | None
) -> None:
    """Version and project are left out of the URL, and the best type of service is taken."""
    found = backups_in(catalogue(services), wanted)
    assert (base, version) == (found.base, found.version)


@pytest.mark.parametrize(
    ("services", "base"),
    [
        (HUAWEI, "https://evs.eu-west-0.example.com"),
        (OTC, "https://evs.eu-de.example.com"),
        ({**OTC, "vbs": "https://vbs.eu-de.example.com/v2/{}"}, "https://evs.eu-de.example.com"),
        (DEVSTACK, None),
        (TRAIN, None),
        (OLD, None),
    ],
)
def test_snapshots_are_apart_on_huawei_s_clouds_only(services: Mapping[str, str], base: str | None) -> None:
    """Cinder shows snapshots beside its backups; EVS has a host of its own."""
    found = snapshots_in(catalogue(services), ANY)
    assert base == (found and found.base)


def two_regions() -> Catalogue:
    """Return a catalogue with an endpoint for each region and interface."""
    places = tuple(
        Endpoint(interface, region, f"https://{interface}.{region}.example.com/v3/{PROJECT}")
        for region in ("north", "south")
        for interface in ("public", "internal", "admin")
    )
    return Catalogue(PROJECT, (Service("volumev3", "cinderv3", places),))


def test_region_and_interface_choose_the_endpoint() -> None:
    """OS_REGION_NAME and OS_INTERFACE name one of several endpoints."""
    found = backups_in(two_regions(), Wanted(region="south", interface="internal"))
    assert Found("volumev3", "https://internal.south.example.com", "v3") == found


def test_several_regions_need_a_choice() -> None:
    """Backups in a region that was taken at random would be in the wrong one half of the time."""
    error = failure(lambda: backups_in(two_regions(), ANY))
    assert Category.UNAVAILABLE is error.category
    assert "OS_REGION_NAME=north" in error.message
    assert not error.sent


@pytest.mark.parametrize(
    ("services", "wanted", "says"),
    [
        ({}, ANY, "set VBS_ENDPOINT"),
        ({"compute": "https://nova/v2.1"}, ANY, "set VBS_ENDPOINT"),
        (TRAIN, Wanted(region="elsewhere"), "OS_REGION_NAME (RegionOne)"),
        (TRAIN, Wanted(interface="internal"), "OS_INTERFACE"),
        ({"volumev3": "http://cinder:8776/v3/{}"}, ANY, "VBS_ALLOW_PLAINTEXT"),
        ({"volumev3": "https://user:secret@cinder/v3/{}"}, ANY, "VBS_ENDPOINT"),
        ({"volumev3": "https://cinder/v3/{}?x=1"}, ANY, "VBS_ENDPOINT"),
        ({"volumev3": "https://cinder/../v3/{}"}, ANY, "VBS_ENDPOINT"),
        ({"volumev3": "ftp://cinder/v3/{}"}, ANY, "VBS_ENDPOINT"),
        ({"volumev3": "https://cinder/v3/{}#x"}, ANY, "VBS_ENDPOINT"),
        ({"volumev3": "https://exa mple/v3/{}"}, ANY, "VBS_ENDPOINT"),
        ({"volumev3": "//cinder/v3/{}"}, ANY, "VBS_ENDPOINT"),
    ],
)
def test_an_endpoint_that_no_setting_could_name_is_refused(
    services: Mapping[str, str], wanted: Wanted, says: str
) -> None:
    """The catalogue obeys the rules of the settings; the error names what to change, and no secret."""
    error = failure(lambda: backups_in(catalogue(services), wanted))
    assert says in error.message
    assert "secret" not in error.message


def test_the_catalogue_of_a_token_is_read_as_it_comes() -> None:
    """A catalogue in Keystone's own form leads to the endpoint."""
    url = f"https://cinder.example.com:8776/v3/{PROJECT}"
    endpoint = {"id": "1", "interface": "public", "region_id": "RegionOne", "region": "RegionOne", "url": url}
    token = {"project": {"id": PROJECT}, "catalog": [{"type": "volumev3", "endpoints": [endpoint]}]}
    assert "https://cinder.example.com:8776" == backups_in(read_catalogue(token), ANY).base
