"""Frames of the worker protocol, ``name SP length SP json LF``: the same in both directions."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_MESSAGE_BYTES = 100 * 1024 * 1024

_HEADER = re.compile(rb"([A-Z_]{1,10}) ([0-9]{1,9}) ")
_BEGINNING = re.compile(rb"[A-Z_]{1,10}(?: (?:[0-9]{1,9})?)?")
_MAX_HEADER_BYTES = 21


class Frame(NamedTuple):
    """One message.

    Attributes:
        name: What it is, such as "INPUT".
        payload: What its JSON says; "" if there is nothing to say.
    """

    name: str
    payload: Any = ""


class NotAFrameError(Exception):
    """What a program wrote is no frame; nothing that follows can be understood either."""


def encoded(frame: Frame) -> bytes:
    """Return the bytes of *frame*."""
    payload = json.dumps(frame.payload).encode()
    return b"%s %d %s\n" % (frame.name.encode(), len(payload), payload)


class FrameReader:
    """Cuts what arrives, in whatever pieces, into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def rest(self) -> bytes:
        """What has arrived after the last frame: the beginning of the next, or no frame at all."""
        return bytes(self._data)

    @property
    def is_amid_frame(self) -> bool:
        """A frame has begun, and its end has not arrived."""
        return bool(self._data)

    def add(self, data: bytes) -> None:
        """Take what has arrived."""
        self._data += data

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that are complete.

        Raises:
            NotAFrameError: The next bytes, which are then in ``rest``, are no frame.
        """
        while self._data and (header := self._header()) is not None:
            length = int(header[2])
            if length > MAX_MESSAGE_BYTES:
                raise NotAFrameError(
                    f"a message of {length:,} bytes: the most is {MAX_MESSAGE_BYTES:,}"
                )
            start = header.end()
            if len(self._data) <= start + length:
                return
            payload, end = self._data[start : start + length], self._data[start + length]
            if end != 0x0A:
                raise NotAFrameError("a message that is longer or shorter than it says")
            try:
                frame = Frame(header[1].decode(), json.loads(payload))
            except (ValueError, RecursionError) as error:
                raise NotAFrameError(f"a message whose payload is no JSON: {error}") from error
            del self._data[: start + length + 1]
            yield frame

    def _header(self) -> re.Match[bytes] | None:
        """Return the match of a whole header, or None if it has not arrived."""
        head = bytes(self._data[:_MAX_HEADER_BYTES])
        header = _HEADER.match(head)
        if header is None and not _BEGINNING.fullmatch(head):
            raise NotAFrameError("something that is no message: it does not begin like one")
        return header
