"""Tests of error codes that the table does not have: they go by their status, and are counted by name."""

import json

import httpx
import pytest

from handler.vbs.codes import CODES
from handler.vbs.faults import UNKNOWN, create_error
from handler.vbs.unknown_codes import MOST_CODES, UnknownCodes


@pytest.fixture(autouse=True)
def nothing_met() -> None:
    """Forget what earlier tests have met."""
    UNKNOWN.counts.clear()


def answer(code: str, status: int = 400) -> None:
    """Classify an error answer with this code."""
    create_error(status, httpx.Headers(), json.dumps({"error": {"code": code, "message": "m"}}).encode())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the codes of the log lines."""
    return [
        each.__dict__["code"] for each in caplog.records if "api.unknown_code" == each.__dict__.get("action")
    ]


def test_an_unknown_code_is_logged_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """The 1st, 10th, 100th, … answer with a code is a line; a code of the gateway counts too."""
    for _ in range(120):
        answer("VolumeBackup.4711")
    answer("APIGW.9999", 403)
    assert ["VolumeBackup.4711"] * 3 + ["APIGW.9999"] == lines(caplog)
    assert "VolumeBackup.4711, 100 times so far" in caplog.text


@pytest.mark.parametrize(
    "code", [*CODES, "APIGW.0201", "400", "400 Bad Request", "XXXX", "a" * 500, "", "../../x"]
)
def test_what_is_known_or_no_code_is_not_counted(code: str) -> None:
    """Codes of the table, statuses, and texts that no service has as a code are not counted."""
    answer(code)
    assert {} == UNKNOWN.counts


def test_the_memory_of_codes_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the bound, new names are counted as one; names are cut."""
    codes = UnknownCodes()
    for number in range(100_000):
        codes.count(f"APIGW.{number}" + "x" * 1_000, 400)
    codes.count("APIGW.0" + "x" * 1_000, 400)
    assert MOST_CODES + 1 == len(codes.counts)
    assert 100_001 - MOST_CODES == codes.counts["other codes"] + 1
    assert max(map(len, codes.counts)) <= 40
    assert len(lines(caplog)) <= MOST_CODES + 6
