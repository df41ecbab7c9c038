"""The names of the settings, taken from ``Settings``, and checks of the settings in deployments."""

import shutil
from collections.abc import Mapping
from typing import Any

import pytest

from handler.settings import Settings

# load_settings itself reads SECRETS_DIR, before it creates the settings.
NAMES = frozenset(field.upper() for field in Settings.model_fields) | {"SECRETS_DIR"}
SECRETS = frozenset(
    name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)


def unknown(names: Mapping[str, object]) -> set[str]:
    """Return the names that are not settings; `OTEL_*` belongs to the tracing library."""
    return {name for name in names if name not in NAMES and not name.startswith("OTEL_")}


def parse(environment: Mapping[str, str]) -> Settings:
    """Parse the values by the program's own rules, and return the settings; raises the program's errors."""
    known: dict[str, Any] = {
        name.lower(): value for name, value in environment.items() if name in NAMES - {"SECRETS_DIR"}
    }
    return Settings(_env_file=None, **known)


def program(name: str) -> str:
    """Return the path of a tool; if it is not installed, skip the test, since no requirement installs it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
