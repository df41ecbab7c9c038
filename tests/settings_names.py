"""The names of the settings, taken from the one place that defines them, and what deployments may say."""

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from handler.settings import Settings

# Read by load_settings itself, before there are settings.
NAMES = frozenset(field.upper() for field in Settings.model_fields) | {"SECRETS_DIR"}
SECRETS = frozenset(
    name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)


def unknown(names: Mapping[str, object]) -> set[str]:
    """Those of `names` that are no settings; `OTEL_*` belongs to the tracing library."""
    return {name for name in names if name not in NAMES and not name.startswith("OTEL_")}


def parse(environment: Mapping[str, str]) -> Settings:
    """Check the values by the rules that the program itself uses. Raises what it would raise."""
    known: dict[str, Any] = {
        name.lower(): value for name, value in environment.items() if name in NAMES - {"SECRETS_DIR"}
    }
    return Settings(_env_file=None, **known)


def program(name: str) -> str:
    """Path of a tool that checks what we ship; without it the test is skipped, since nothing installs it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
