"""The settings: read from environment variables, ``.env`` and files in ``SECRETS_DIR``, and validated.

Each field is the variable of the same name in capitals. A bad or missing one stops the program with one line
that names it.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from handler import fields
from handler.addresses import endpoint, listen_address, sign_in_url
from handler.amqp_url import EXAMPLE
from handler.errors import SettingsError
from handler.fields import (
    checked,
    each_of,
    file,
    header_text,
    one_line,
    project_id,
    seconds,
    secret_line,
    short_name,
)
from handler.redaction import hold, hold_urls
from handler.sources import ENVIRONMENT, Sources, read_sources
from handler.values import YEARS_100, choice, clean, decimal, flag, whole

RETAINED = "MAX_AGE + TRACK_DEADLINE + the longest delay of WAIT_LADDER"
"""The settings that bound ``LEDGER_RETENTION`` from below."""

OWN_SNAPSHOTS = (
    "autobk_snapshot_*",
    "manualbk_snapshot_*",
    "backup-snap-*",
    "tmp-snap-*",
    "[revert] volume * backup snapshot",
)
"""The snapshots that the backup service (the first two) and Cinder make for their own work, and delete."""

_DAY = 86_400.0
_URLS = ("_URL", "_ENDPOINT")
_SECRET_TEXTS = frozenset({"HUAWEICLOUD_SDK_AK"})
"""Variables whose value is shown to their owner, but in no text that leaves."""
_PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
_USER = "3f1b9c0e7d5a4c2ab8e6f10293847566"
_LEVELS = {"warn": "WARNING", "critical": "ERROR", "fatal": "ERROR", "trace": "DEBUG"}
"""What other programs call the levels."""


class Settings(BaseSettings):
    """All settings, validated. Secrets are ``SecretStr``, which no repr, log or traceback shows."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=False
    )

    # broker
    amqp_url: Annotated[tuple[SecretStr, ...], checked(fields.broker_urls, EXAMPLE)] = (
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
    )
    amqp_management_url: Annotated[
        SecretStr | None, checked(fields.management_secret, "http://user:password@broker.example.com:15672")
    ] = None
    """RabbitMQ's management API, with user and password; only the doctor asks it."""
    amqp_ca_file: Annotated[Path | None, file("/etc/ssl/broker-ca.pem")] = None
    amqp_cert_file: Annotated[Path | None, file("/etc/ssl/client.pem")] = None
    amqp_key_file: Annotated[Path | None, file("/etc/ssl/client.key")] = None
    snapshot_exchange: Annotated[str, checked(short_name(127, "amq.topic"), "snapshots")] = "snapshots"
    snapshot_queue: Annotated[str, checked(short_name(100), "snapshot-backup")] = "snapshot-backup"
    snapshot_bindings: Annotated[
        tuple[tuple[str, str], ...], checked(each_of(fields.binding), "openstack:notifications.info")
    ] = ()
    result_exchange: Annotated[str, checked(short_name(127, "amq.topic"), "backups")] = "backups"
    result_unroutable: Annotated[Literal["wait", "ignore"], checked(choice("wait", "ignore"), "wait")] = (
        "wait"
    )
    queue_type: Annotated[Literal["quorum", "classic"], checked(choice("quorum", "classic"), "quorum")] = (
        "quorum"
    )

    # API
    vbs_endpoint: Annotated[str | None, checked(endpoint, "https://vbs.region.example.com")] = None
    evs_endpoint: Annotated[str | None, checked(endpoint, "https://evs.region.example.com")] = None
    vbs_api_version: Annotated[Literal["v2", "v3"] | None, checked(choice("v2", "v3"), "v3")] = None
    vbs_project_id: Annotated[str | None, checked(project_id, _PROJECT)] = None
    vbs_allowed_projects: Annotated[tuple[str, ...], checked(each_of(project_id), _PROJECT)] = ()
    vbs_timeout: Annotated[float, checked(seconds(0.001, 600), "30")] = 30.0
    vbs_ca_file: Annotated[Path | None, file("/etc/ssl/api-ca.pem")] = None
    max_running: Annotated[int | None, checked(whole(1, 10_000), "20")] = None
    """Backups in progress at once, for each cloud; None: any number."""

    # sign-in
    vbs_auth: Annotated[
        Literal["auto", "none", "token", "cloud", "password", "application_credential", "aksk", "agency"],
        checked(
            choice("auto", "none", "token", "cloud", "password", "application_credential", "aksk", "agency"),
            "password",
        ),
    ] = "auto"
    vbs_allow_plaintext: Annotated[bool, checked(flag, "false")] = False
    os_cloud: Annotated[tuple[str, ...], checked(each_of(one_line), "production")] = ()
    os_client_config_file: Annotated[Path | None, file("/etc/openstack/clouds.yaml")] = None
    os_client_secure_file: Annotated[Path | None, file("/etc/openstack/secure.yaml")] = None
    os_auth_type: Annotated[str | None, checked(one_line, "v3applicationcredential")] = None
    os_auth_url: Annotated[str | None, checked(sign_in_url, "https://iam.region.example.com/v3")] = None
    os_token: Annotated[SecretStr | None, checked(header_text, "gAAAAABl-x7")] = None
    os_username: Annotated[str | None, checked(one_line, "backup-user")] = None
    os_user_id: Annotated[str | None, checked(one_line, _USER)] = None
    os_password: Annotated[SecretStr | None, checked(secret_line, "s3cret")] = None
    os_user_domain_id: Annotated[str | None, checked(one_line, "default")] = None
    os_user_domain_name: Annotated[str | None, checked(one_line, "Default")] = None
    os_project_id: Annotated[str | None, checked(project_id, _PROJECT)] = None
    os_project_name: Annotated[str | None, checked(one_line, "production")] = None
    os_project_domain_id: Annotated[str | None, checked(one_line, "default")] = None
    os_project_domain_name: Annotated[str | None, checked(one_line, "Default")] = None
    os_application_credential_id: Annotated[str | None, checked(one_line, _USER)] = None
    os_application_credential_name: Annotated[str | None, checked(one_line, "backup")] = None
    os_application_credential_secret: Annotated[SecretStr | None, checked(secret_line, "s3cret")] = None
    os_domain_id: Annotated[str | None, checked(one_line, "default")] = None
    os_domain_name: Annotated[str | None, checked(one_line, "Default")] = None
    os_default_domain: Annotated[str | None, checked(one_line, "default")] = None
    os_default_domain_id: Annotated[str | None, checked(one_line, "default")] = None
    os_default_domain_name: Annotated[str | None, checked(one_line, "Default")] = None
    os_system_scope: Annotated[Literal["all"] | None, checked(choice("all"), "all")] = None
    os_trust_id: Annotated[str | None, checked(one_line, _USER)] = None
    os_tenant_id: Annotated[str | None, checked(project_id, _PROJECT)] = None
    os_tenant_name: Annotated[str | None, checked(one_line, "production")] = None
    os_region_name: Annotated[str | None, checked(one_line, "RegionOne")] = None
    os_interface: Annotated[str | None, checked(fields.interface, "public")] = None
    os_endpoint_type: Annotated[str | None, checked(fields.interface, "publicURL")] = None
    os_cacert: Annotated[Path | None, file("/etc/ssl/keystone-ca.pem")] = None
    os_cert: Annotated[Path | None, file("/etc/ssl/client.pem")] = None
    os_key: Annotated[Path | None, file("/etc/ssl/client.key")] = None
    os_insecure: Annotated[bool, checked(fields.insecure, "false")] = False
    os_identity_api_version: Annotated[str | None, checked(fields.identity_version, "3")] = None
    huaweicloud_sdk_ak: Annotated[str | None, checked(header_text, "HPUAVKL2DXGTEXAMPLE")] = None
    huaweicloud_sdk_sk: Annotated[SecretStr | None, checked(secret_line, "s3cret")] = None
    huaweicloud_sdk_security_token: Annotated[SecretStr | None, checked(header_text, "gQpjbi1ub3J0aC0x")] = (
        None
    )

    # ledger
    ledger_url: Annotated[
        SecretStr, checked(fields.ledger_secret, "sqlite:////var/lib/snapshot-backup/ledger.db")
    ] = SecretStr("sqlite:///snapshot-backup.db")
    ledger_retention: Annotated[float, checked(decimal(0.001, YEARS_100 / _DAY, "days"), "90")] = 90.0
    """Days that a row is kept after its backup's end; at least ``shortest_retention``."""

    # state of waiting messages
    state_keys: Annotated[
        tuple[SecretStr, ...], checked(each_of(fields.state_key), "2b7e151628aed2a6abf7158809cf4f3c")
    ] = ()
    """The first signs, all verify; without any the ledger keeps one."""

    # behaviour
    concurrency: Annotated[int, checked(whole(1, 2000), "32")] = 32
    wait_ladder: Annotated[tuple[int, ...], checked(fields.delays, "5,30,120")] = (5, 30, 120, 600, 3600)
    max_attempts: Annotated[int, checked(whole(1, 1_000_000), "8")] = 8
    max_age: Annotated[float, checked(seconds(0.001), "86400")] = 86400.0
    track_backups: Annotated[bool, checked(flag, "true")] = True
    track_deadline: Annotated[float, checked(seconds(0.001), "86400")] = 86400.0
    lease_seconds: Annotated[float, checked(seconds(0.5, 3600), "20")] = 20.0
    skip_snapshots: Annotated[tuple[str, ...], checked(fields.name_patterns, "autobk_snapshot_*,mine-*")] = (
        OWN_SNAPSHOTS
    )
    drain_seconds: Annotated[float, checked(seconds(0, 86400), "25")] = 25.0
    max_body_bytes: Annotated[int, checked(whole(1024, 128 * 1024 * 1024, "bytes"), "1048576")] = 1048576
    rules_file: Annotated[Path | None, file("/etc/snapshot-backup/rules.toml")] = None

    # console
    console_address: Annotated[str, checked(listen_address, "127.0.0.1:8090")] = "127.0.0.1:8090"
    console_token: Annotated[
        SecretStr | None, checked(fields.console_token, "2b7e151628aed2a6abf7158809cf4f3c")
    ] = None
    """What operators sign in with; needed where the address is not on the loopback interface."""
    console_read_token: Annotated[
        SecretStr | None, checked(fields.console_token, "603deb1015ca71be2b73aef0857d7781")
    ] = None
    """What those sign in with who may only read; only beside ``console_token``."""

    # operations
    http_address: Annotated[str | None, checked(listen_address, "127.0.0.1:8080")] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        checked(choice("DEBUG", "INFO", "WARNING", "ERROR", also=_LEVELS), "INFO"),
    ] = "INFO"
    log_format: Annotated[Literal["json", "text"] | None, checked(choice("json", "text"), "json")] = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave the reading to ``handler.sources``, which knows where each value comes from."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take what is empty for not set."""
        return {name: value for name, value in values.items() if value not in (None, "")}

    @property
    def unauthenticated(self) -> bool:
        """Return whether there is nothing to authenticate waiting messages with."""
        return not self.state_keys and self.ledger_url.get_secret_value().startswith("none")

    @property
    def shortest_retention(self) -> float:
        """The least days for which the ledger must keep an ended backup, rounded up to a thousandth.

        So long a message about its snapshot can wait: until it expires, then until its backup's end, then
        once in the last wait queue. Without the row, it would cause a second backup.
        """
        days = (self.max_age + self.track_deadline + max(self.wait_ladder)) / _DAY
        return math.ceil(days * 1000) / 1000 if math.isfinite(days) else days

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := list(_problems(self)):
            raise ValueError("\n".join(problems))
        return self


def _problems(settings: Settings) -> Iterator[str]:
    """Yield the problems between fields; each text names its variable."""
    yield from _retention_problems(settings)
    if settings.max_running is not None and (problem := uncounted(settings)):
        yield f"MAX_RUNNING: {problem}, such as MAX_RUNNING=20 with LEDGER_URL=sqlite:///snapshot-backup.db"
    if bool(settings.amqp_cert_file) != bool(settings.amqp_key_file):
        yield (
            "AMQP_CERT_FILE, AMQP_KEY_FILE: set both or neither, such as AMQP_CERT_FILE=client.pem and "
            "AMQP_KEY_FILE=client.key"
        )
    names = [settings.snapshot_exchange, settings.snapshot_queue, settings.result_exchange]
    if len({*names, f"{settings.snapshot_queue}.dead"}) <= len(names):
        yield (
            "SNAPSHOT_EXCHANGE, SNAPSHOT_QUEUE, RESULT_EXCHANGE: must be three different names, since the "
            "queue has an exchange of its own name, such as RESULT_EXCHANGE=backups"
        )


def uncounted(settings: Settings) -> str | None:
    """Return why backups in progress cannot be counted, so that their number cannot be limited."""
    if settings.ledger_url.get_secret_value().startswith("none"):
        return "the ledger counts the backups in progress, and LEDGER_URL=none keeps none; set LEDGER_URL"
    if not settings.track_backups:
        return "with TRACK_BACKUPS=false the end of a backup is not known; set TRACK_BACKUPS=true"
    return None


def _retention_problems(settings: Settings) -> Iterator[str]:
    if settings.ledger_retention < (shortest := settings.shortest_retention):
        yield (
            f"LEDGER_RETENTION: {settings.ledger_retention:g} days are fewer than {RETAINED}; a message that "
            "comes later causes a second backup. Set at least the sum of these, such as "
            f"LEDGER_RETENTION={in_digits(shortest)}"
        )


def in_digits(days: float) -> str:
    """Format days for a setting: without exponent and trailing zeros."""
    return f"{days:.3f}".rstrip("0").rstrip(".")


NAMES = frozenset(field.upper() for field in Settings.model_fields)
"""The names of all settings; ``SECRETS_DIR`` says where they are, and is none."""


class Loaded(NamedTuple):
    """The settings, and the sources that they are from."""

    settings: Settings
    sources: Sources


def load_settings(*, _env_file: str | Path | None = ".env", **overrides: Any) -> Settings:
    """Read the settings. Raises ``SettingsError``, which names each bad variable.

    All secrets among them are held for redaction, also those of settings that are refused.
    """
    return load(_env_file=_env_file, **overrides).settings


def load(*, _env_file: str | Path | None = ".env", **overrides: Any) -> Loaded:
    """Read the settings, and keep where they are from. As ``load_settings``."""
    _hold_proxies(os.environ)
    sources = read_sources(NAMES, Path(_env_file) if _env_file else None)
    given = {name: clean(value) if isinstance(value, str) else value for name, value in overrides.items()}
    values: dict[str, Any] = {found.name.lower(): found.text for found in sources.settings.values()}
    values |= {name: value for name, value in given.items() if value not in (None, "")}
    for name, value in values.items():
        _hold(name.upper(), value)
    try:
        return Loaded(Settings(**values), sources)
    except ValidationError as error:
        raise SettingsError(*_lines(error, sources)) from None


def _hold_proxies(environment: Mapping[str, str]) -> None:
    """Hold the secrets in variables that are no settings: proxies' passwords, and OpenTelemetry's headers."""
    for name, value in environment.items():
        if name.lower().endswith("_proxy"):
            hold_urls(value)
        elif name.startswith("OTEL_") and name.endswith("_HEADERS"):
            hold(*(header.partition("=")[2] for header in value.split(",")))


def _hold(name: str, value: object) -> None:
    """Hold the secrets of one setting."""
    for each in value if isinstance(value, tuple | list) else (value,):
        text = each.get_secret_value() if isinstance(each, SecretStr) else each
        if not isinstance(text, str) or name not in NAMES:
            continue
        if holds_a_url(name):
            hold_urls(text)
        elif is_secret(name):
            hold(text, *text.split(","))


def holds_a_url(name: str) -> bool:
    """Return whether a setting's value is a URL, of which only the password is a secret."""
    return name.endswith(_URLS)


def is_secret(name: str) -> bool:
    """Return whether a setting's value, or a part of it, is a secret."""
    field = Settings.model_fields[name.lower()]
    return name in _SECRET_TEXTS or "SecretStr" in str(field.annotation)


def _lines(error: ValidationError, sources: Sources) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        text = problem["msg"].removeprefix("Value error, ")
        if problem["loc"]:
            name = str(problem["loc"][0]).upper()
            found = sources.settings.get(name)
            place = f" in {found.source}" if found and found.source != ENVIRONMENT else ""
            yield f"{name}{place}: {text}"
        else:
            yield from text.splitlines()
