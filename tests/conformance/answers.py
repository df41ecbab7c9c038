"""Answers as real servers and proxies send them, byte for byte, and what a client may do with each.

Both transports do the same. Where RFC 9112 or 9110 lets a client be lenient, the answer is read. Where the
length of an answer is ambiguous in a way that smuggling uses, it is refused. A create whose answer is refused
is in doubt, and a lookup finds its backup.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STATUS = "HTTP/1.1 202 Accepted\r\n"
NO_CONTENT = "HTTP/1.1 204 No Content\r\n"
LENGTH = "Content-Length: {length}\r\n"
CODING = "Transfer-Encoding: chunked\r\n"
CHUNKS = "{size}\r\n{body}\r\n0\r\n\r\n"
FOREIGN = '{"backup": {"id": "11111111-93d4-4e55-a2b8-0d7e4f9c1a26", "name": "another one"}}'
"""What another request would have been answered."""


@dataclass(frozen=True)
class Answer:
    """An answer to a create call, whose template is that of the emulator's fault ``raw``.

    ``read`` says whether both transports read it. ``reusable`` says whether the connection may carry another
    request. ``rule`` is the section of RFC 9112, or of RFC 9110 with its number before it. If ``closed``, the
    server closes the connection after it.
    """

    name: str
    template: str
    read: bool
    rule: str
    reusable: bool = True
    closed: bool = False


def read(name: str, rule: str, template: str, *, reusable: bool = True, closed: bool = False) -> Answer:
    """Return an answer that is read."""
    return Answer(name, template, read=True, rule=rule, reusable=reusable, closed=closed)


def refused(name: str, rule: str, template: str, *, reusable: bool = False, closed: bool = False) -> Answer:
    """Return an answer that is refused."""
    return Answer(name, template, read=False, rule=rule, reusable=reusable, closed=closed)


def _with(*lines: str, status: str = STATUS, length: str = LENGTH, body: str = "{body}") -> str:
    """Return an answer with these headers before its length."""
    return status + "".join(f"{line}\r\n" for line in lines) + f"{length}\r\n{body}"


def _chunked(*lines: str, coding: str = CODING, body: str = CHUNKS) -> str:
    return _with(*lines, length=coding, body=body)


def _of_length(value: str) -> str:
    return _with(length=f"Content-Length:{value}\r\n")


def _coded(value: str) -> str:
    return _chunked(coding=f"Transfer-Encoding: {value}\r\n")


def _fixed(body: str, *lines: str) -> str:
    """Return an answer with this body, whatever the API's own is."""
    return _with(*lines, length=f"Content-Length: {len(body)}\r\n", body=body)


def _encoded(label: str) -> str:
    return _with(f"Content-Encoding: {label}")


def _lines(count: int, line: str) -> str:
    return "".join(line.format(number) + "\r\n" for number in range(count))


_GZIP = gzip.compress(FOREIGN.encode(), mtime=0).decode("latin-1")
_DEFLATE = zlib.compress(FOREIGN.encode()).decode("latin-1")
_OTHER = _fixed(FOREIGN)

LENGTHS = (
    read("both lengths", "6.3 item 3", _chunked("Content-Length: {length}"), reusable=False),
    read("both lengths, the coding first", "6.3 item 3", _with(CODING[:-2], body=CHUNKS), reusable=False),
    read("both lengths, a wrong number", "6.3 item 3", _chunked("Content-Length: 3"), reusable=False),
    read("a length given twice", "6.3 item 5", _with(LENGTH[:-2])),
    read("a length given twice in one line", "6.3 item 5", _of_length(" {length}, {length}")),
    read("a length given three times in one line", "6.3 item 5", _of_length(" {length},{length} , {length}")),
    read("a length with leading zeros", "9110 8.6", _of_length(" 000{length}")),
    read("a length with spaces and tabs", "5.1", _of_length("\t  {length} \t")),
    refused("two lengths", "6.3 item 5", _with("Content-Length: 5")),
    refused("two lengths in one line", "6.3 item 5", _of_length(" 5, {length}")),
    refused("a length with a plus", "9110 8.6", _of_length(" +{length}")),
    refused("a length with a space in it", "9110 8.6", _of_length(" {length} 0")),
    refused("a negative length", "9110 8.6", _of_length(" -1")),
    refused("an empty length", "9110 8.6", _of_length("")),
    refused("a length with a comma at its end", "9110 5.6.1", _of_length(" {length},")),
    refused("a hexadecimal length", "9110 8.6", _of_length(" 0x{size}")),
    refused("a length with a fraction", "9110 8.6", _of_length(" {length}.0")),
    refused("an enormous length", "9110 8.6", _of_length(" 99999999999999999999999")),
    refused("a length of 2**63", "9110 8.6", _of_length(" 9223372036854775808"), closed=True),
    refused("a body longer than its length", "6.3", _of_length(" 10")),
    refused("a body shorter than its length", "6.3", _of_length(" 5000"), closed=True),
)

CODINGS = (
    read("chunked in another case", "7", _coded("Chunked")),
    read("chunked with white space after it", "5.1", _coded("chunked \t")),
    read("chunked, and HTTP/1.0", "6.1", _chunked().replace("1.1", "1.0", 1), reusable=False),
    refused("gzip, chunked", "6.1", _coded("gzip, chunked")),
    refused("chunked, gzip", "6.3 item 4", _coded("chunked, gzip")),
    refused("gzip until the end", "6.3 item 4", _with(length="Transfer-Encoding: gzip\r\n"), closed=True),
    refused("the coding identity", "6.1", _with("Transfer-Encoding: identity")),
    refused("identity, chunked", "6.1", _coded("identity, chunked")),
    refused("chunked twice", "6.1", _coded("chunked\r\nTransfer-Encoding: chunked")),
    refused("chunked twice in one line", "6.1", _coded("chunked, chunked")),
    refused("chunked with a parameter", "7", _coded("chunked;q=1")),
    refused("an unknown coding", "6.1", _coded("xchunked")),
    refused("an empty coding beside a length", "6.1", _with("Transfer-Encoding:")),
    refused("a coding after a vertical tab", "5.5", _coded("\x0bchunked")),
)

_CHUNK = "{size}\r\n{body}\r\n"

CHUNKED = (
    read("chunk extensions", "7.1.1", _chunked(body='{size};a=b;c="d;e"\r\n{body}\r\n0;x\r\n\r\n')),
    read("trailers", "7.1.2", _chunked(body=f"{_CHUNK}0\r\nX-Trailer: 1\r\n\r\n")),
    read("a length among the trailers", "6.5.1", _chunked(body=f"{_CHUNK}0\r\nContent-Length: 1\r\n\r\n")),
    read("a folded trailer", "5.2", _chunked(body=f"{_CHUNK}0\r\nX-Trailer: 1\r\n 2\r\n\r\n")),
    read("chunk sizes with leading zeros", "7.1", _chunked(body="0000{size}\r\n{body}\r\n000\r\n\r\n")),
    read("chunk sizes with spaces after them", "7.1", _chunked(body="{size}   \r\n{body}\r\n0 \r\n\r\n")),
    read(
        "a second chunk size with spaces",
        "7.1",
        _chunked(body="2\r\n  \r\n{size} \r\n{body}\r\n0\r\n\r\n"),
    ),
    refused("endless trailers", "5.4", _chunked(body=_CHUNK + "0\r\n" + _lines(9_000, "X-Trailer: {:>20}"))),
    refused("an endless chunk extension", "7.1.1", _chunked(body="{size};" + "x" * 250_000)),
    refused("a chunk size before spaces", "7.1", _chunked(body=f" {CHUNKS}")),
    refused("spaces before a chunk extension", "7.1.1", _chunked(body="{size} ;a\r\n{body}\r\n0\r\n\r\n")),
    refused("a huge chunk size", "7.1", _chunked(body="FFFFFFFFFFFFFFFFF\r\n{body}"), closed=True),
    refused("a negative chunk size", "7.1", _chunked(body="-1\r\n{body}\r\n0\r\n\r\n")),
    refused("a chunk size with 0x", "7.1", _chunked(body=f"0x{CHUNKS}")),
    refused("an empty chunk size", "7.1", _chunked(body="\r\n{body}\r\n0\r\n\r\n")),
    refused("chunk sizes before a bare line feed", "7.1", _chunked(body="{size}\n{body}\r\n0\r\n\r\n")),
    refused("no line end after a chunk", "7.1", _chunked(body="{size}\r\n{body}0\r\n\r\n"), closed=True),
    refused("no last chunk", "8", _chunked(body=_CHUNK), closed=True),
    refused("no line end after the last chunk", "8", _chunked(body=f"{_CHUNK}0\r\n"), closed=True),
    refused("a body that is not chunked", "7.1", _chunked(body="{body}"), closed=True),
)

STATUS_LINES = (
    read("no reason", "4", _with(status="HTTP/1.1 202 \r\n")),
    read("no reason and no space", "4", _with(status="HTTP/1.1 202\r\n")),
    read("a reason that is not ASCII", "4", _with(status="HTTP/1.1 202 Acc\xe9pt\xff: 12 \t(ok)\r\n")),
    read("HTTP/1.2", "9110 2.5", _with(status="HTTP/1.2 202 Accepted\r\n")),
    read("HTTP/1.0", "9.3", _with(status="HTTP/1.0 202 Accepted\r\n"), reusable=False),
    read("HTTP/1.0, kept alive", "9.3", _with("Connection: keep-alive", status="HTTP/1.0 202 Accepted\r\n")),
    read(
        "HTTP/1.0, until the end",
        "6.3 item 8",
        _with(status="HTTP/1.0 202 OK\r\n", length=""),
        closed=True,
        reusable=False,
    ),
    read("HTTP/1.1, until the end", "6.3 item 8", _with(length=""), closed=True, reusable=False),
    refused("HTTP/2 in a status line", "2.3", _with(status="HTTP/2 202 Accepted\r\n")),
    refused("two status lines", "2.1", STATUS + _with()),
    refused("two spaces in the status line", "4", _with(status="HTTP/1.1  202 Accepted\r\n")),
    refused("http in lower case", "2.3", _with(status="http/1.1 202 Accepted\r\n")),
    refused("a status of two digits", "4", _with(status="HTTP/1.1 20 Accepted\r\n")),
    refused("a status of four digits", "4", _with(status="HTTP/1.1 2020 Accepted\r\n")),
    refused("an empty line first", "2.2", "\r\n" + _with()),
    refused("three empty lines first", "2.2", "\r\n\r\n\r\n" + _with()),
    refused("a space first", "2.2", " " + _with()),
    refused("a mark of UTF-8 first", "2.2", "\xef\xbb\xbf" + _with()),
)

INTERIM = (
    read("100 first", "9110 15.2", "HTTP/1.1 100 Continue\r\n\r\n" + _with()),
    read("102 first", "9110 15.2", "HTTP/1.1 102 Processing\r\n\r\n" + _with()),
    read(
        "103 three times first", "9110 15.2", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + _with()
    ),
    read(
        "103 with a length", "6.3 item 1", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + _with()
    ),
    read("an unknown interim answer", "9110 15", "HTTP/1.1 199 Odd\r\n\r\n" + _with()),
    read(
        "an unknown interim answer with a length",
        "6.3 item 1",
        "HTTP/1.1 183 Progress\r\nContent-Length: 5\r\n\r\n" + _with(),
    ),
    read("100 with Connection: close", "9110 15.2", "HTTP/1.1 100 OK\r\nConnection: close\r\n\r\n" + _with()),
    read("a final answer that offers an upgrade", "9110 7.8", _with("Upgrade: h2c", "Connection: Upgrade")),
    refused("101", "9110 15.2.2", "HTTP/1.1 101 OK\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + _with()),
    refused("100 alone", "9110 15.2", "HTTP/1.1 100 Continue\r\n\r\n", closed=True),
)

HEADERS = (
    read("folded headers", "5.2", _with("X-Folded: 1\r\n 2\r\n\t3")),
    read("a folded length", "5.2", _of_length("\r\n {length}")),
    read("a folded coding", "5.2", _chunked(coding="Transfer-Encoding:\r\n chunked\r\n")),
    read("line feeds alone", "2.2", _with("X: 1").replace("\r\n", "\n")),
    read("a line feed alone after the status line", "2.2", _with("X: 1").replace("\r\n", "\n", 1)),
    read("a line feed alone after a header", "2.2", _with("X: 1").replace("X: 1\r\n", "X: 1\n")),
    read("names in lower case", "5.1", _with(length="content-length: {length}\r\n")),
    read("odd names", "9110 5.1", _with("x_y.z~!#$%&'*+-^`|: x")),
    read(
        "values that are not ASCII", "9110 5.5", _with("X: \xc3\xa9", "Y: \xe9\xff", "Server: \x80\x85\xa0")
    ),
    read("control characters in a value", "9110 5.5", _with("Set-Cookie: a=\x01b\x7f")),
    read("empty values", "5", _with("X:", "Y: ", "X-Request-Id: r")),
    read("500 headers", "5.4", _with(*(f"X-{number}: v" for number in range(500)))),
    read("a header of 60,000 bytes", "5.4", _with("X: " + "x" * 60_000)),
    read("an odd cookie", "9110 5.5", _with("Set-Cookie: =; Expires=x; Max-Age=x", "Set-Cookie: \xff")),
    refused("a header of 300,000 bytes", "5.4", _with("X: " + "x" * 300_000)),
    refused("30,000 headers", "5.4", _with(*(f"X-{number}: v" for number in range(30_000)))),
    refused("a space before a colon", "5.1", _with("X : 1")),
    refused("a length with a space before its colon", "5.1", _with(length="Content-Length : {length}\r\n")),
    refused("a space in a name", "5.1", _with("My Param: None")),
    refused("a header without a colon", "5", _with("X-XSS-Protection=1;")),
    refused("a name in quotes", "5.1", _with('"Content-type": text/html')),
    refused("an empty name", "5", _with(": x")),
    refused("a name that is not ASCII", "9110 5.1", _with("X-\xc3\xa9: x")),
    refused("a folded first line", "2.2", _with(" X: 1")),
    refused("a NUL in a value", "9110 5.5", _with("X: a\x00b")),
    refused("a carriage return in a value", "2.2", _with("X: 1\r2")),
    refused("carriage returns alone", "2.2", _with("X: 1").replace("\r\n", "\r"), closed=True),
)

CONNECTIONS = (
    read("Connection: close", "9.6", _with("Connection: close"), reusable=False),
    read("Connection: close in a list", "9.6", _with("Connection: Keep-Alive, CLOSE"), reusable=False),
    read(
        "Connection given twice", "9.6", _with("Connection: keep-alive", "Connection: close"), reusable=False
    ),
    read("Keep-Alive: timeout=1", "9.3", _with("Keep-Alive: timeout=1, max=100"), reusable=False),
    read("Keep-Alive: timeout=60", "9.3", _with("Keep-Alive: timeout=60")),
    read("Proxy-Connection: close", "C.2.2", _with("Proxy-Connection: close")),
    read("Proxy-Connection: keep-alive", "C.2.2", _with("Proxy-Connection: keep-alive")),
    read("a second answer", "9.2", _with() + _OTHER, reusable=False),
    read("a second answer after chunks", "9.2", _chunked() + _OTHER, reusable=False),
    read("surplus bytes", "9.2", _with() + "xyz", reusable=False),
    read("an empty line after the answer", "2.2", _with() + "\r\n"),
    read(
        "a second answer after Connection: close", "9.6", _with("Connection: close") + _OTHER, reusable=False
    ),
    read(
        "a request timeout after the answer",
        "9.2",
        _with() + "HTTP/1.0 408 Request Time-out\r\n\r\n",
        reusable=False,
    ),
)

BODIES = (
    read("the encoding identity", "9110 8.4.1", _encoded("identity")),
    read("the encoding Identity", "9110 8.4.1", _encoded("Identity")),
    read("an empty encoding", "9110 5.6.1", _encoded("")),
    read("the encoding identity twice", "9110 8.4", _encoded("identity, identity")),
    refused("gzip", "9110 8.4.1", _fixed(_GZIP, "Content-Encoding: gzip")),
    refused("x-gzip", "9110 8.4.1", _fixed(_GZIP, "Content-Encoding: x-gzip")),
    refused("deflate", "9110 8.4.1", _fixed(_DEFLATE, "Content-Encoding: deflate")),
    refused("gzip in a list", "9110 8.4", _fixed(_GZIP, "Content-Encoding: identity, gzip")),
    refused("the label br on plain text", "9110 8.4", _encoded("br")),
    refused("the label gzip on plain text", "9110 8.4", _encoded("gzip")),
    refused("an unknown encoding", "9110 8.4", _encoded("aws-chunked")),
    refused("gzip without a label", "9110 8.4", _fixed(_GZIP), reusable=True),
    read("a mark of UTF-8 before the JSON", "9110 8.3", _chunked(body="3\r\n\xef\xbb\xbf\r\n" + CHUNKS)),
    read(
        "white space around the JSON",
        "9110 8.3",
        _chunked(body="3\r\n\r\n \r\n{size}\r\n{body}\r\n2\r\n\r\n\r\n0\r\n\r\n"),
    ),
    read("an unknown charset", "9110 8.3.2", _with("Content-Type: application/json; charset=x-unknown")),
    read("JSON as HTML", "9110 8.3", _with("Content-Type: text/html; charset=ISO-8859-1")),
    refused("JSON that is not UTF-8", "9110 8.3", _fixed(FOREIGN.replace("another", "\xe9")), reusable=True),
    refused("a guard before the JSON", "9110 8.3", _chunked(body="5\r\n)]}',\r\n" + CHUNKS), reusable=True),
    refused("two documents", "9110 8.3", _chunked(body=_CHUNK + CHUNKS), reusable=True),
    refused("an answer without content", "9110 15.3.5", f"{NO_CONTENT}\r\n", reusable=True),
    refused("204 with a body", "6.3 item 1", _with(status=NO_CONTENT)),
    refused("204 in chunks", "6.3 item 1", f"{NO_CONTENT}{CODING}\r\n0\r\n\r\n"),
    refused(
        "205 with a length of 0",
        "9110 15.3.6",
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        reusable=True,
    ),
    refused("a HEAD's answer", "6.3 item 1", _with(body=""), closed=True),
)

STRANGERS = (
    refused("HTML alone", "2.1", "<html><body>no</body></html>", closed=True),
    refused("a settings frame of HTTP/2", "9113 3.4", "\0\0\x12\4" + "\0" * 15, closed=True),
    refused("an alert of TLS", "2.1", "\x15\3\1\0\2\2\x46", closed=True),
    refused("a banner of SSH", "2.1", "SSH-2.0-OpenSSH_9.6\r\n", closed=True),
    refused("a status line of ICY", "2.3", _with(status="ICY 202 OK\r\n")),
    refused("nothing", "9.3.1", "", closed=True),
    refused("half a status line", "8", "HTTP/1.1 202 Acc", closed=True),
    refused("half a header", "8", STATUS + "Content-Le", closed=True),
)

ANSWERS: Sequence[Answer] = (
    read("a usual answer", "6.3 item 6", _with()),
    *LENGTHS,
    *CODINGS,
    *CHUNKED,
    *STATUS_LINES,
    *INTERIM,
    *HEADERS,
    *CONNECTIONS,
    *BODIES,
    *STRANGERS,
)


def refused_answers() -> Iterator[Answer]:
    """Yield the answers that are refused."""
    return (answer for answer in ANSWERS if not answer.read)
