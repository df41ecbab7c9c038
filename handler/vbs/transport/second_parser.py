"""A second parser for answers that httptools refuses: h11, which httpx's own transport uses.

So both transports read the same answers: equal lengths that are given twice, folded headers, lines that end
with a line feed alone. The usual answer does not come here.
"""

from typing import Protocol

import h11


class Reader(Protocol):
    """Receives the parts of an answer, as from httptools."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header."""

    def on_headers_complete(self) -> None:
        """Receive the end of a head."""

    def on_body(self, part: bytes) -> None:
        """Receive a part of the body."""

    def on_message_complete(self) -> None:
        """Receive the end of an answer."""


class SecondParser:
    """Has the methods of ``httptools.HttpResponseParser`` that a connection calls."""

    def __init__(self, reader: Reader, limit: int) -> None:
        self._reader = reader
        self._status = 0
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=limit)
        # The request was sent already. Its method would matter only if it were HEAD or CONNECT.
        self._h11.send(h11.Request(method="GET", target="/", headers=[("Host", "")]))
        self._h11.send(h11.EndOfMessage())

    def feed_data(self, data: bytes) -> None:
        """Parse more of the answer. What follows its end is not parsed: the connection is not reused.

        Raises ``ValueError`` if h11, or a method of the reader, refuses the answer.
        """
        self._h11.receive_data(data)
        while True:
            match self._next_event():
                case h11.Response() as head:
                    self._status = head.status_code
                    for name, value in head.headers.raw_items():
                        self._reader.on_header(name, value)
                    self._reader.on_headers_complete()
                case h11.Data() as part:
                    self._reader.on_body(bytes(part.data))
                case h11.EndOfMessage():
                    self._reader.on_message_complete()
                    return
                case h11.InformationalResponse():
                    pass
                case _:
                    return

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise ValueError(str(error)) from None

    def get_status_code(self) -> int:
        """Return the answer's status."""
        return self._status

    def should_keep_alive(self) -> bool:
        """Return False: the connection is not reused after an unusual answer."""
        return False
