"""What a catalogue says about the endpoints of backups and snapshots; pure functions.

An endpoint of the catalogue obeys the rules of one that a setting names: https, or a loopback host, or
``VBS_ALLOW_PLAINTEXT``; no user, no parameters.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx

from events.outcome import Category
from handler.addresses import service_url
from handler.errors import ApiError
from handler.loopback import is_loopback
from handler.vbs.fault_body import clean

if TYPE_CHECKING:
    from handler.vbs.auth.catalogue import Catalogue

TYPES: Final = ("vbs", "block-storage", "block-store", "volumev3", "volumev2", "volume")
"""The types of services that make backups, the best one first."""

SNAPSHOT_TYPES: Final = ("evs",)
_EVS: Final = "evs"
_LATER_TYPES: Final = ("volumev3", "volumev2", "volume")
"""The types under which Huawei's clouds name EVS too."""

_TEMPLATE: Final = re.compile(r"[$%]\((?:tenant|project)_id\)s?")


class Wanted(NamedTuple):
    """What the settings say of a cloud's endpoints; ``version`` is ``v2``, ``v3`` or None: negotiated."""

    backups: str | None = None
    snapshots: str | None = None
    version: str | None = None
    region: str | None = None
    interface: str = "public"
    allow_plaintext: bool = False


class Found(NamedTuple):
    """An endpoint without version and project; ``version`` is the one in its URL, if any."""

    type: str
    base: str
    version: str | None


def overridden(overrides: Mapping[str, str], types: Sequence[str]) -> str | None:
    """Return the endpoint that a cloud's ``<type>_endpoint_override`` names, without version and project."""
    for kind in types:
        if url := overrides.get(kind) or overrides.get(kind.replace("-", "_")):
            return service_url(url)[0]
    return None


def backups_in(catalogue: "Catalogue", wanted: Wanted) -> Found:
    """Return where a catalogue says that backups are. Raises ``ApiError`` where it does not."""
    found = list(_of_types(catalogue, TYPES, wanted))
    if not found:
        regions = sorted({clean(at.region or "") for each in catalogue.services for at in each.endpoints})
        raise unusable(
            f"the catalogue has no {wanted.interface} endpoint of a backup service ({', '.join(TYPES)}) in "
            f"region {wanted.region or 'any'}: set VBS_ENDPOINT, OS_REGION_NAME ({', '.join(regions)[:200]}) "
            "or OS_INTERFACE"
        )
    best = _by_version(found, wanted.version)
    scheme, separator, host = best.base.partition("://")
    if host.startswith(f"{_EVS}."):
        # The catalogue of such clouds names EVS alone; backups are at the host beside it.
        return best._replace(base=f"{scheme}{separator}vbs{host.removeprefix(_EVS)}")
    return best


def snapshots_in(catalogue: "Catalogue", wanted: Wanted) -> Found | None:
    """Return where a catalogue says that snapshots are; None where they are beside the backups."""
    evs = [found for found in _of_types(catalogue, (_EVS,), wanted) if found.version != "v1"]
    others = list(_of_types(catalogue, _LATER_TYPES, wanted))
    has_vbs = any(service.type == "vbs" for service in catalogue.services)
    if not evs and not has_vbs and not any("://evs." in each.base for each in others):
        return None
    found = evs or others
    return _by_version(found, wanted.version) if found else None


def _by_version(found: Sequence[Found], version: str | None) -> Found:
    """Return the first of the version, or else the first that is not of the first version."""
    fitting = [each for each in found if version and each.version == version]
    later = [each for each in found if each.version != "v1"]
    best = (fitting or later or found)[0]
    return best._replace(version=None) if best.version not in ("v2", "v3") else best


def _of_types(catalogue: "Catalogue", types: Sequence[str], wanted: Wanted) -> Iterator[Found]:
    """Yield the endpoints of services of these types, in their order. Raises ``ApiError``."""
    for kind in types:
        for service in catalogue.services:
            if service.type != kind:
                continue
            places = [at for at in service.endpoints if at.interface == wanted.interface]
            places = [at for at in places if wanted.region in (None, at.region)]
            regions = sorted({clean(at.region) for at in places if at.region})
            if len(regions) > 1:
                raise unusable(
                    f"the catalogue has several regions: set OS_REGION_NAME={regions[0]}, or one "
                    f"of {', '.join(regions)[:200]}"
                )
            for at in places:
                yield _found(kind, at.url, catalogue.project_id, wanted)


def _found(kind: str, url: str, project_id: str | None, wanted: Wanted) -> Found:
    """Return an endpoint of the catalogue, by the rules of a setting. Raises ``ApiError``."""
    try:
        base, version = service_url(re.sub(_TEMPLATE, project_id or "project", url), project_id or "project")
    except ValueError as error:
        raise unusable(f"the catalogue's endpoint of {kind} {error}: set VBS_ENDPOINT") from None
    parts = httpx.URL(base)
    if parts.scheme == "http" and not wanted.allow_plaintext and not is_loopback(parts.host):
        raise unusable(
            f"the catalogue names the endpoint {base} of {kind}, and credentials would be sent there "
            "unencrypted: set VBS_ENDPOINT=https://…, or VBS_ALLOW_PLAINTEXT=true inside a private network"
        )
    return Found(kind, base, version)


def unusable(text: str) -> ApiError:
    """Return the error of a catalogue that names no endpoint that can be used."""
    return ApiError(Category.UNAVAILABLE, f"no endpoint: {text}", sent=False, from_api=False)
