"""The service catalogue of a token: that of Cinder, or with an EVS path that of Huawei's clouds."""

from collections.abc import Iterator

from infra.emulator.keystone import id_of
from infra.emulator.settings import Settings

Json = dict[str, object]


def catalogue(settings: Settings, base: str, project_id: str | None) -> list[Json]:
    """Return the services, with the project in their URLs; `base` is the caller's `http://host:port`.

    As in Keystone, a token without a project has no service whose URL needs one.
    """
    if project_id is None:
        return []
    return [_service(kind, f"{base}{path}/{project_id}") for kind, path in _services(settings)]


def _services(settings: Settings) -> Iterator[tuple[str, str]]:
    versions = ("v2", "v3") if settings.versions == "both" else (settings.versions,)
    if settings.evs_path is None:
        for version in versions:
            yield f"volume{version}", f"{settings.path}/{version}"
        return
    yield "vbs", f"{settings.path}/{versions[0]}"
    yield "evs", f"{settings.evs_path}/{versions[0]}"
    for version in versions:
        yield f"volume{version}", f"{settings.evs_path}/{version}"


def _service(kind: str, url: str) -> Json:
    endpoint = {
        "id": id_of(url),
        "interface": "public",
        "region_id": "RegionOne",
        "region": "RegionOne",
        "url": url,
    }
    return {"endpoints": [endpoint], "id": id_of(kind), "type": kind, "name": kind}
