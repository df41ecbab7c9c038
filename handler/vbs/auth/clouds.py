"""The accounts of ``OS_CLOUD``: names of ``clouds.yaml``, each resolved as openstacksdk resolves it.

What is merged, the later over the earlier: the profile (of ``clouds-public.yaml``, or built in), the cloud in
``clouds.yaml``, the same cloud in ``secure.yaml``, and the region's values.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from handler.errors import SettingsError
from handler.printable import printable
from handler.redaction import hold
from handler.settings import Settings
from handler.vbs.auth.account import Account, Method
from handler.vbs.auth.cloud_files import CloudFile, read_first, search_path, unusable
from handler.vbs.auth.environment import environment_options
from handler.vbs.auth.options import KEYS, OVERRIDE, SECRETS, Option, Options, kind_of, make_account

PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "otc": {
        "auth": {"auth_url": "https://iam.{region_name}.otc.t-systems.com/v3"},
        "regions": ["eu-de", "eu-nl"],
    },
    "otc-swiss": {
        "auth": {"auth_url": "https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3"},
        "regions": ["eu-ch2"],
    },
    "binero": {"auth": {"auth_url": "https://auth.binero.cloud:5000/v3"}, "regions": ["europe-se-1"]},
    "elastx": {"auth": {"auth_url": "https://ops.elastx.cloud:5000/v3"}, "region_name": "se-sto"},
    "switchcloud": {
        "auth": {"auth_url": "https://identity.compute.cloud.switch.ch/v3"},
        "regions": ["zhw", "zhc"],
    },
}
"""Profiles of openstacksdk of clouds that still run, and have Keystone v3."""

_BUILT_IN = "built-in profile"
_DEEPEST = 6
_MOST_NODES = 5_000
_AGAIN: Final[Mapping[str, str]] = {"auth_token": "token", "user_name": "username"}
_TOP_FIRST: Final = frozenset(
    {
        *("domain_id", "domain_name", "user_domain_id", "user_domain_name", "project_domain_id"),
        *("project_domain_name", "project_id", "project_name", "tenant_id", "tenant_name", "token"),
    }
)
"""Keys that count more beside ``auth`` than within it, as in openstacksdk; other keys count less there."""

Layer = dict[str, Any]
"""Keys to options, lists, or mappings."""


def cloud_accounts(settings: Settings) -> tuple[Account, ...]:
    """Return the accounts of all names of ``OS_CLOUD``. Raises ``SettingsError``."""
    files = _Files(settings)
    return tuple(_account(files, name, settings) for name in settings.os_cloud)


class _Files:
    """The files, each read once."""

    def __init__(self, settings: Settings) -> None:
        self.clouds = read_first("clouds", settings.os_client_config_file)
        self.secure = read_first("secure", settings.os_client_secure_file)
        self._public: CloudFile | None = None
        if self.clouds is None and self.secure is None:
            folders = ", ".join(map(str, search_path()))
            raise SettingsError(
                f"OS_CLOUD: there is no clouds.yaml that this user can read in {folders}; name it, such as "
                "OS_CLIENT_CONFIG_FILE=/etc/openstack/clouds.yaml"
            )

    def cloud(self, name: str) -> Layer:
        """Return one cloud of both files, merged. Raises ``SettingsError`` if none has it."""
        layers = [_layer(file, name) for file in (self.clouds, self.secure) if file and name in file.clouds]
        if not layers:
            raise self._unknown()
        return _merged(*layers)

    def _unknown(self) -> SettingsError:
        file = self.clouds or self.secure
        names = [printable(each) for each in file.clouds][:20] if file else []
        path = file.path if file else ""
        has = f"it has {', '.join(names)}, such as OS_CLOUD={names[0]}" if names else "it has none"
        return SettingsError(f"OS_CLOUD: {path} has no cloud of that name; {has}")

    def profile(self, where: str, name: str) -> Layer:
        """Return a profile. Raises ``SettingsError`` if there is none of this name."""
        self._public = self._public or read_first("clouds-public", key="public-clouds")
        if self._public and name in self._public.clouds:
            return _layer(self._public, name)
        if name in PROFILES:
            return _options(PROFILES[name], _BUILT_IN)
        raise SettingsError(
            f"{where}profile: is in no clouds-public.yaml, and not one of the built-in ones, "
            f"{', '.join(PROFILES)}; write its auth_url into the cloud instead, such as "
            "auth_url: https://keystone.example.com/v3"
        )


def _account(files: _Files, name: str, settings: Settings) -> Account:
    cloud = files.cloud(name)
    where = f"OS_CLOUD: {printable(name)} in {_path(files)}: "
    profile = _text(where, cloud, "profile") or _text(where, cloud, "cloud")
    layer = _merged(files.profile(where, profile), cloud) if profile else cloud
    layer = _in_region(where, layer, cloud, settings.os_region_name)
    values = _flat(where, layer)
    values |= _of_environment(settings, values)
    for key in SECRETS & values.keys():
        hold(values[key].text)
    if (url := values.get("auth_url")) is not None:
        values["auth_url"] = Option(_filled(url.text, layer), url.source)
    check = f"the cloud {printable(name)} in {_path(files)}"
    options = Options(values, lambda key: key, check, where, name)
    return make_account(options, _method(options))


def _of_environment(settings: Settings, values: Mapping[str, Option]) -> Mapping[str, Option]:
    """Return what the environment adds: the interface before the cloud's own, PEM files after them."""
    given = environment_options(settings).values
    chosen = {key: given[key] for key in ("interface",) if key in given}
    if "cacert" not in values and "cacert" in given:
        chosen["cacert"] = given["cacert"]
    if "cert" not in values:
        chosen |= {key: given[key] for key in ("cert", "key") if key in given}
    return chosen


def _path(files: _Files) -> Path | str:
    file = files.clouds or files.secure
    return file.path if file else ""


def _method(options: Options) -> Method:
    kind = kind_of(options)
    if kind == "none":
        raise options.wrong("auth_type", "none is no sign-in; write VBS_AUTH=none instead of it", "password")
    if kind is not None:
        return kind  # type: ignore[return-value] # the others are methods
    if "application_credential_secret" in options.values and "password" not in options.values:
        return "application_credential"
    return "password"


def _layer(file: CloudFile, name: str) -> Layer:
    cloud = file.clouds[name]
    if not isinstance(cloud, dict):
        raise unusable(file.path, f"the cloud {printable(name)} is not a mapping of keys, such as auth:")
    return _options(cloud, str(file.path))


def _options(cloud: Mapping[Any, Any], source: str) -> Layer:
    """Turn each text into an option; ``user-domain-name`` is ``user_domain_name``."""
    left = [_MOST_NODES]

    def convert(value: object, depth: int) -> object:
        left[0] -= 1
        if depth > _DEEPEST or left[0] < 0:
            return None  # no key of ours is so deep, and an alias may repeat without end
        if isinstance(value, dict):
            pairs = ((str(key).replace("-", "_"), convert(each, depth + 1)) for key, each in value.items())
            return {key: each for key, each in pairs if each is not None}
        if isinstance(value, list):
            return [convert(each, depth + 1) for each in value]
        if value is None or value == "":
            return None
        return Option(str(value).lower() if isinstance(value, bool) else str(value), source)

    layer = convert(cloud, 0)
    return layer if isinstance(layer, dict) else {}


def _merged(*layers: Layer) -> Layer:
    """Merge layers, the later over the earlier, and their mappings likewise."""
    merged: Layer = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            both = isinstance(before, dict) and isinstance(value, dict)
            merged[key] = _merged(before, value) if both else value  # type: ignore[arg-type] # both are
    return merged


def _in_region(where: str, layer: Layer, cloud: Layer, wanted: str | None) -> Layer:
    """Choose the region, and merge its values. Raises ``SettingsError`` if the cloud does not have it."""
    regions = _regions(where, cloud) or _regions(where, layer)
    if wanted and regions and wanted not in regions:
        known = ", ".join(map(printable, regions))
        raise SettingsError(
            f"OS_REGION_NAME: is no region of {where.removesuffix(': ').removeprefix('OS_CLOUD: ')}, which "
            f"has {known}; name one of them, such as OS_REGION_NAME={printable(next(iter(regions)))}"
        )
    name = wanted or next(iter(regions), None)
    rest = {key: value for key, value in layer.items() if key not in ("regions", "region_name")}
    if name is None:
        return rest
    values, source = regions.get(name, ({}, "OS_REGION_NAME"))
    return _merged(rest, values, {"region_name": Option(name, "OS_REGION_NAME" if wanted else source)})


def _regions(where: str, layer: Layer) -> Mapping[str, tuple[Layer, str]]:
    """Return the regions that a layer names, each with its values and its source."""
    given = layer.get("regions") or layer.get("region_name") or []
    names = _names(given) if isinstance(given, Option) else given
    if not isinstance(names, list):
        raise SettingsError(f"{where}regions: must be a list of names, such as regions: [RegionOne]")
    return dict(_region(where, each) for each in names)


def _names(given: Option) -> list[Option]:
    return [Option(name.strip(), given.source) for name in given.text.split(",") if name.strip()]


def _region(where: str, region: object) -> tuple[str, tuple[Layer, str]]:
    fields = region if isinstance(region, dict) else {"name": region}
    name, values = fields.get("name"), fields.get("values", {})
    if not isinstance(name, Option) or not isinstance(values, dict):
        raise SettingsError(
            f"{where}regions: each must be a name, or have name and values, such as regions: [RegionOne]"
        )
    return name.text, (values, name.source)


def _flat(where: str, layer: Layer) -> dict[str, Option]:
    """Return all options of a cloud, those within ``auth`` and those beside it."""
    auth = layer.get("auth", {})
    if not isinstance(auth, dict):
        raise SettingsError(
            f"{where}auth: must be a mapping, with lines such as auth_url: https://keystone.example.com/v3 "
            "indented below it"
        )
    beside, within = _known(where, layer), _known(where, auth)
    flat = {**beside, **within, **{key: each for key, each in beside.items() if key in _TOP_FIRST}}
    for newer, older in (
        *(("project_id", "tenant_id"), ("project_name", "tenant_name")),
        *(("interface", "endpoint_type"), ("auth_type", "auth_plugin")),
    ):
        if (found := flat.pop(older, None)) and newer not in flat:
            flat[newer] = found
    return flat


def _known(where: str, layer: Layer) -> dict[str, Option]:
    """Return the options that we know. Raises ``SettingsError`` for one that is a list or a mapping."""
    older = ("tenant_id", "tenant_name", "endpoint_type", "auth_plugin")
    found: dict[str, Option] = {}
    for key, value in layer.items():
        name = _AGAIN.get(key, key)
        if (name in KEYS or name in older or name.endswith(OVERRIDE)) and name not in found:
            found[name] = _option(where, key, value)
    return found


def _option(where: str, key: str, value: object) -> Option:
    if not isinstance(value, Option):
        raise SettingsError(f"{where}{key}: must be one text, such as {key}: example")
    return value


def _text(where: str, layer: Layer, key: str) -> str | None:
    return _option(where, key, layer[key]).text if key in layer else None


def _filled(url: str, layer: Layer) -> str:
    """Fill ``{region_name}`` and other keys of the cloud into a URL."""

    def fill(match: re.Match[str]) -> str:
        value = layer.get(match[1])
        return value.text if isinstance(value, Option) and match[1] not in SECRETS else match[0]

    return re.sub(r"\{(\w+)\}", fill, url)
