"""Reading an answer: at most ``BODY_LIMIT`` bytes, uncompressed, also after a sign-in read it; as JSON."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from hypothesis import example, given, seed, settings
from hypothesis import strategies as st

from handler.vbs.transport.body import BODY_LIMIT, Unreadable, parse_json, read_body


class _Once(httpx.AsyncByteStream):
    """A body that comes from a socket: it can be read once."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content]
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._parts:
            yield self._parts.pop()

    async def aclose(self) -> None:
        self.closed = True


async def _answer(
    content: bytes, headers: Mapping[str, str] | None = None, *, read: bool = False
) -> tuple[httpx.Response, _Once]:
    stream = _Once(content)
    response = httpx.Response(401, headers=headers, stream=stream)
    if read:
        await response.aread()
    return response, stream


@pytest.mark.parametrize("read", [False, True])
def test_a_body_is_returned_whether_it_was_read_before_or_not(read: bool) -> None:
    """The sign-in reads the answer to a refused token; the client reads the same answer for its reason."""

    async def body() -> None:
        response, stream = await _answer(b'{"error": 1}', read=read)
        assert b'{"error": 1}' == await read_body(response)
        assert stream.closed

    asyncio.run(body())


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize(
    ("content", "headers", "text"),
    [
        (b"x" * (BODY_LIMIT + 1), {}, "longer than"),
        (b"{}", {"content-encoding": "x-unknown"}, "compressed"),
    ],
    ids=["long", "compressed"],
)
def test_a_bad_body_is_refused_whether_it_was_read_before_or_not(
    content: bytes, headers: Mapping[str, str], text: str, read: bool
) -> None:
    """An earlier reader does not lift the limits; a refused body is closed."""

    async def body() -> None:
        response, stream = await _answer(content, headers, read=read)
        with pytest.raises(Unreadable, match=text):
            await read_body(response)
        assert stream.closed

    asyncio.run(body())


def test_a_body_of_the_largest_size_is_read() -> None:
    """``BODY_LIMIT`` itself is allowed."""

    async def body() -> None:
        response, _ = await _answer(b"x" * BODY_LIMIT)
        assert BODY_LIMIT == len(await read_body(response))

    asyncio.run(body())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.one_of(
    st.builds(
        lambda value, ascii_, spaces: (spaces + json.dumps(value, ensure_ascii=ascii_) + spaces).encode(),
        PLAIN,
        st.booleans(),
        st.sampled_from(["", " ", "\r\n\t", "\x0b", "\xa0"]),
    ),
    st.builds(
        lambda value, charset: json.dumps(value).encode(charset),
        PLAIN,
        st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]),
    ),
    st.lists(
        st.sampled_from(
            [
                *(b"{ } [ ] \"a\" : , 1 -0 1e999 NaN -Infinity 0x1 01 1. true null nul - // 'a'".split()),
                *(b'"\\ud800" "\\ud83d\\ude00" \xed\xa0\x80 "\xff" "\x01" \x00'.split()),
                *(b"9" * 25, b"9" * 4301, b"0." + b"1" * 400),
            ]
        ),
        max_size=9,
    ).map(b"".join),
    st.binary(max_size=12),
    st.integers(0, 300).map(lambda depth: b"[" * depth + b"]" * depth),
)


def _by_python(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return Unreadable


def _by_us(body: bytes) -> object:
    try:
        return parse_json(body)
    except Unreadable:
        return Unreadable


@seed(20)
@settings(max_examples=1500, deadline=None)
@given(DOCUMENTS)
@example(b'{"a": 1, "a": 2}')
def test_every_document_is_parsed_as_python_does(body: bytes) -> None:
    """The faster parser changes no answer: neither what is read nor what is refused."""
    assert _same(_by_python(body)) == _same(_by_us(body))


def _same(value: object) -> str:
    """Return a text that differs wherever values do, also for numbers that are not equal to themselves."""
    with_digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return repr(value)
    finally:
        sys.set_int_max_str_digits(with_digits)
