"""Rules that need Cinder v3, and the warning at start where v2 is set."""

import asyncio
from pathlib import Path

import pytest

from handler.bootstrap import parts
from handler.settings import load_settings


@pytest.mark.parametrize(
    ("version", "fields", "warned"),
    [
        ("v2", 'metadata = { policy = "gold" }', True),
        ("v2", 'availability_zone = "az-2"', True),
        ("v3", 'metadata = { policy = "gold" }', False),
        (None, 'metadata = { policy = "gold" }', False),
        ("v2", "force = true", False),
    ],
)
def test_a_rule_that_needs_v3_is_named_at_start(
    tmp_path: Path, version: str | None, fields: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What v2 cannot be told is one warning before the first event. A version that is found says it later."""
    rules = tmp_path / "rules.toml"
    rules.write_text(f"[[rule]]\nset = {{ {fields} }}\n")

    async def start() -> None:
        settings = load_settings(
            vbs_endpoint="http://127.0.0.1:1", vbs_api_version=version, rules_file=rules, ledger_url="none"
        )
        async with parts(settings):
            pass

    asyncio.run(start())
    said = [each.getMessage() for each in caplog.records if "RULES_FILE" in each.getMessage()]
    assert warned is any("VBS_API_VERSION=v3" in each for each in said)
