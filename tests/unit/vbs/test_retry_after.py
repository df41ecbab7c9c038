"""Tests of the time that the API asks to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from handler.vbs.retry_after import retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("99999999", 3600.0),
        ("inf", 3600.0),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_from_zero_to_one_hour(value: str, seconds: float | None) -> None:
    """No header causes a wait longer than an hour or a negative one."""
    assert seconds == retry_after({"retry-after": value}, None, "")


def test_a_date_is_relative_to_the_answers_date_header() -> None:
    """A date counts from the answer's own date, so a server's wrong clock does not matter."""
    wrong_now = datetime(2001, 1, 1, tzinfo=UTC)
    headers = {
        "date": format_datetime(wrong_now, usegmt=True),
        "retry-after": format_datetime(wrong_now + timedelta(seconds=90), usegmt=True),
    }
    assert 90.0 == retry_after(headers, None, "")


def test_a_date_without_a_date_header_is_relative_to_our_clock() -> None:
    """A date without a Date header counts from our clock, the only other reference."""
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < (retry_after({"retry-after": then}, None, "") or 0) <= 90


def test_the_header_precedes_the_body_and_the_body_precedes_the_text() -> None:
    """The body is used if the header is unreadable, and the text if both are."""
    text = "ratelimit,limit:200,time:5 minute"
    sources = [({"retry-after": "1"}, "2"), ({"retry-after": "x"}, "2"), ({}, None)]
    assert [1.0, 2.0, 30.0] == [retry_after(headers, body, text) for headers, body in sources]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("policy user over ratelimit,limit:200,time:5 minute", 30.0),
        ("policy ip over ratelimit,limit:5,time:1 minute", 6.0),
        ("policy api over ratelimit,limit:5,time:1 second", 1.0),
        ("policy api over ratelimit,limit:5,time:1 day", 60.0),
        ("The account is locked.", 900.0),
        ("busy", None),
    ],
)
def test_a_throttling_text_gives_a_tenth_of_its_window(text: str, seconds: float | None) -> None:
    """Without Retry-After the wait is a tenth of the throttling window, or a fixed time for known texts."""
    assert seconds == retry_after({}, None, text)
