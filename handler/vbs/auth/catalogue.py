"""The service catalogue of a token: which services the cloud has, and their endpoints, as immutable data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

_MOST_SERVICES = 500
_MOST_ENDPOINTS = 500
"""Of each service. Real catalogues have some dozens of services with a few endpoints for each region."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a service; the URL is as the catalogue has it, with version and project perhaps."""

    interface: str
    region: str | None
    url: str


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the catalogue; ``type`` is such as ``volumev3``, ``name`` such as ``cinderv3``."""

    type: str
    name: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The services that a token names, and the id of the token's project, which is part of their URLs."""

    project_id: str | None
    services: tuple[Service, ...] = ()


@runtime_checkable
class HasCatalogue(Protocol):
    """A sign-in whose token has a catalogue."""

    async def catalogue(self) -> Catalogue:
        """Return the catalogue of our own project's token. Raises ``ApiError``."""
        ...


async def catalogue_of(auth: object) -> Catalogue | None:
    """Return the catalogue of a sign-in, which signs in first if it has not; None if this kind has none.

    Raises ``ApiError``: ``denied`` if the sign-in is refused, ``unavailable`` without a usable answer.
    """
    return await auth.catalogue() if isinstance(auth, HasCatalogue) else None


def read_catalogue(token: object) -> Catalogue:
    """Return the catalogue in the ``token`` of Keystone's answer; what cannot be read is left out."""
    project_id = _text(_member(_member(token, "project"), "id"))
    return Catalogue(project_id, tuple(_services(_member(token, "catalog"))))


def _services(entries: object) -> Iterator[Service]:
    for entry in _items(entries, _MOST_SERVICES):
        if kind := _text(_member(entry, "type")):
            endpoints = tuple(_endpoints(_member(entry, "endpoints")))
            yield Service(kind, _text(_member(entry, "name")) or kind, endpoints)


def _endpoints(entries: object) -> Iterator[Endpoint]:
    for entry in _items(entries, _MOST_ENDPOINTS):
        url = _text(_member(entry, "url"))
        interface = _text(_member(entry, "interface"))
        if url and interface:
            region = _text(_member(entry, "region_id")) or _text(_member(entry, "region"))
            yield Endpoint(interface.removesuffix("URL"), region, url)


def _items(value: object, most: int) -> list[object]:
    return value[:most] if isinstance(value, list) else []


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
