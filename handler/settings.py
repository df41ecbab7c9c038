"""The settings: read from environment variables, ``.env`` and files in ``SECRETS_DIR``, and validated.

Each field is the variable of the same name in capitals. A bad or missing one stops the program with one line
that names it.
"""

import contextlib
import itertools
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSource

from events.snapshot import ProjectId
from handler.addresses import (
    amqp_problems,
    endpoint_problems,
    file_problems,
    ledger_problems,
    listen_problems,
    sign_in_problems,
)
from handler.errors import SettingsError
from handler.redaction import hold, hold_urls

_LONGEST_DELAY = 4_294_967
"""Seconds: RabbitMQ stores a queue's message TTL in milliseconds as 32 bits."""

RETAINED = "MAX_AGE + TRACK_DEADLINE + the longest delay of WAIT_LADDER"
"""The settings that bound ``LEDGER_RETENTION`` from below."""

_DAY = 86_400.0
_URLS = ("_URL", "_ENDPOINT")
_SECRET_TEXTS = frozenset({"HUAWEICLOUD_SDK_AK"})
"""Variables whose value is shown to their owner, but in no text that leaves."""
_SHORTEST_KEY = 16
_SHORT_NAME = r"^[0-9A-Za-z._:-]{1,127}$"


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _split_urls(value: object) -> object:
    return _split(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _binding(value: str) -> tuple[str, str]:
    exchange, colon, key = value.strip().partition(":")
    if not (colon and exchange and key):
        raise ValueError("each must be exchange:routing.key, such as openstack:notifications.info")
    return exchange, key


def _bindings(value: object) -> object:
    return [_binding(part) for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=_SHORT_NAME)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_urls)]


class Settings(BaseSettings):
    """All settings, validated. Secrets are ``SecretStr``, which no repr, log or traceback shows."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    # broker
    amqp_url: Annotated[Secrets, Field(min_length=1)] = (SecretStr("amqp://guest:guest@127.0.0.1:5672/"),)
    amqp_ca_file: Path | None = None
    amqp_cert_file: Path | None = None
    amqp_key_file: Path | None = None
    snapshot_exchange: Name = "snapshots"
    snapshot_queue: Annotated[str, Field(pattern=r"^[0-9A-Za-z._:-]{1,100}$")] = "snapshot-backup"
    snapshot_bindings: Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_bindings)] = ()
    result_exchange: Name = "backups"
    result_unroutable: Literal["wait", "ignore"] = "wait"
    queue_type: Literal["quorum", "classic"] = "quorum"

    # API
    vbs_endpoint: str | None = None
    vbs_api_version: Literal["v2", "v3"] = "v2"
    vbs_project_id: ProjectId | None = None
    vbs_allowed_projects: Annotated[tuple[ProjectId, ...], NoDecode, BeforeValidator(_split)] = ()
    vbs_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    vbs_ca_file: Path | None = None

    # sign-in
    vbs_auth: Literal["auto", "none", "token", "password", "aksk", "agency"] = "auto"
    os_token: SecretStr | None = None
    os_auth_url: str | None = None
    os_username: str | None = None
    os_password: SecretStr | None = None
    os_user_domain_name: str = "Default"
    os_project_id: ProjectId | None = None
    os_project_name: str | None = None
    huaweicloud_sdk_ak: str | None = None
    huaweicloud_sdk_sk: SecretStr | None = None
    huaweicloud_sdk_security_token: SecretStr | None = None

    # ledger
    ledger_url: SecretStr = SecretStr("sqlite:///snapshot-backup.db")
    ledger_retention: Annotated[float, Field(gt=0)] = 90.0
    """Days that a row is kept after its backup's end; at least ``shortest_retention``."""

    # state of waiting messages
    state_keys: Secrets = ()
    """The first signs, all verify; without any the ledger keeps one."""

    # behaviour
    concurrency: Annotated[int, Field(ge=1, le=2000)] = 32
    wait_ladder: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)] = (
        5,
        30,
        120,
        600,
        3600,
    )
    max_attempts: Annotated[int, Field(ge=1)] = 8
    max_age: Annotated[float, Field(gt=0)] = 86400.0
    track_backups: bool = True
    track_deadline: Annotated[float, Field(gt=0)] = 86400.0
    lease_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 20.0
    skip_snapshots: Words = ("autobk_snapshot_*",)
    drain_seconds: Annotated[float, Field(ge=0)] = 25.0
    max_body_bytes: Annotated[int, Field(ge=1024, le=128 * 1024 * 1024)] = 1048576
    rules_file: Path | None = None

    # operations
    http_address: str | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] | None = None

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
    # The retention depends on the delays, so it is checked only where these are valid.
    yield from list(_delay_problems(settings.wait_ladder)) or _retention_problems(settings)
    yield from _address_problems(settings)
    if bool(settings.amqp_cert_file) != bool(settings.amqp_key_file):
        yield "AMQP_CERT_FILE, AMQP_KEY_FILE: set both or neither, such as client.pem and client.key"
    if any(len(key.get_secret_value()) < _SHORTEST_KEY for key in settings.state_keys):
        yield (
            f"STATE_KEYS: each key must have at least {_SHORTEST_KEY} characters, the newest first, such as "
            "STATE_KEYS=2b7e151628aed2a6abf7158809cf4f3c (make one with: openssl rand -hex 32)"
        )


def _delay_problems(delays: Sequence[int]) -> Iterator[str]:
    if any(a >= b for a, b in itertools.pairwise(delays)) or delays[0] < 1:
        yield "WAIT_LADDER: must be increasing whole seconds, such as 5,30,120"
    if delays[-1] > _LONGEST_DELAY:
        yield f"WAIT_LADDER: no delay can be longer than {_LONGEST_DELAY} seconds; use 3600, for example"


def _retention_problems(settings: Settings) -> Iterator[str]:
    if settings.ledger_retention < (shortest := settings.shortest_retention):
        yield (
            f"LEDGER_RETENTION: {settings.ledger_retention:g} days are fewer than {RETAINED}; a message that "
            f"comes later causes a second backup. The least is LEDGER_RETENTION={in_digits(shortest)}"
        )


def in_digits(days: float) -> str:
    """Format days for a setting: without exponent and trailing zeros."""
    return f"{days:.3f}".rstrip("0").rstrip(".")


def _address_problems(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with URLs, addresses and files, each with its variable."""
    for url in settings.amqp_url:
        yield from _named("AMQP_URL", amqp_problems(url.get_secret_value()))
    if settings.vbs_endpoint is not None:
        yield from _named("VBS_ENDPOINT", endpoint_problems(settings.vbs_endpoint))
    if settings.os_auth_url is not None:
        yield from _named("OS_AUTH_URL", sign_in_problems(settings.os_auth_url))
    yield from _named("LEDGER_URL", ledger_problems(settings.ledger_url.get_secret_value()))
    if settings.http_address is not None:
        yield from _named("HTTP_ADDRESS", listen_problems(settings.http_address))
    for name, value in settings:
        if isinstance(value, Path):
            yield from _named(name.upper(), file_problems(value))


def _named(variable: str, problems: Iterator[str]) -> Iterator[str]:
    return (f"{variable}: {problem}" for problem in problems)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Raises ``SettingsError``, which names each bad variable.

    All secrets among them are held for redaction, also those of settings that are refused.
    """
    _hold_environment()
    _check_dotenv(overrides)
    secrets_dir = os.environ.get("SECRETS_DIR") or None
    if secrets_dir and not Path(secrets_dir).is_dir():
        raise SettingsError(f"SECRETS_DIR: {secrets_dir} is not a folder; name one, such as /run/secrets")
    try:
        settings = Settings(_secrets_dir=secrets_dir, **overrides)
    except ValidationError as error:
        raise SettingsError(*_lines(error)) from None
    except UnreadableSource as error:
        raise SettingsError(f"SECRETS_DIR: {secrets_dir}: {error}") from None
    _hold_settings(settings)
    return settings


def _hold_environment() -> None:
    """Hold what the environment says before it is checked, and the passwords of its proxies."""
    for name, value in os.environ.items():
        field = Settings.model_fields.get(name.lower())
        if name.lower().endswith("_proxy") or (field and name.endswith(_URLS)):
            hold_urls(value)
        elif field and (_is_secret(field.annotation) or name in _SECRET_TEXTS):
            hold(value)
        elif name.startswith("OTEL_") and name.endswith("_HEADERS"):
            hold(*(header.partition("=")[2] for header in value.split(",")))


def _hold_settings(settings: Settings) -> None:
    for name, value in settings:
        for each in value if isinstance(value, tuple) else (value,):
            text = each.get_secret_value() if isinstance(each, SecretStr) else each
            if not isinstance(text, str):
                continue
            if name.upper().endswith(_URLS):
                hold_urls(text)
            elif isinstance(each, SecretStr) or name.upper() in _SECRET_TEXTS:
                hold(text)


def _is_secret(annotation: object) -> bool:
    return "SecretStr" in str(annotation)


def _check_dotenv(overrides: Mapping[str, Any]) -> None:
    """Refuse a ``.env`` that every user of the machine may write. Raises ``SettingsError``."""
    name = overrides.get("_env_file", ".env")
    if name is None:
        return
    with contextlib.suppress(OSError):
        path = Path(name)
        if path.stat().st_mode & stat.S_IWOTH:
            raise SettingsError(
                f"{path}: every user may write it, and so the settings; run: chmod o-w {path}"
            )


def _lines(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        text = re.sub(r"^Value error, ", "", problem["msg"])
        if problem["loc"]:
            yield f"{str(problem['loc'][0]).upper()}: {text}"
        else:
            yield from text.splitlines()
