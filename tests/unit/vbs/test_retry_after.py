"""How long the API asks us to wait."""

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
def test_seconds_are_bounded(value: str, seconds: float | None) -> None:
    """Nothing that a server says makes us wait longer than an hour, or back in time."""
    assert seconds == retry_after({"retry-after": value}, None, "")


def test_a_date_is_relative_to_the_answers_own() -> None:
    """A server whose clock is wrong means the same number of seconds."""
    wrong_now = datetime(2001, 1, 1, tzinfo=UTC)
    headers = {
        "date": format_datetime(wrong_now, usegmt=True),
        "retry-after": format_datetime(wrong_now + timedelta(seconds=90), usegmt=True),
    }
    assert 90.0 == retry_after(headers, None, "")


def test_a_date_alone_is_relative_to_now() -> None:
    """Without a Date header our clock has to do."""
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < (retry_after({"retry-after": then}, None, "") or 0) <= 90


def test_the_header_goes_before_the_body_and_the_body_before_the_text() -> None:
    """Each counts where the one before says nothing readable."""
    text = "ratelimit,limit:200,time:5 minute"
    said = [({"retry-after": "1"}, "2"), ({"retry-after": "x"}, "2"), ({}, None)]
    assert [1.0, 2.0, 30.0] == [retry_after(headers, told, text) for headers, told in said]


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
def test_a_text_tells_a_tenth_of_its_window(text: str, seconds: float | None) -> None:
    """The gateway gives no Retry-After; a locked account has its fixed time."""
    assert seconds == retry_after({}, None, text)
