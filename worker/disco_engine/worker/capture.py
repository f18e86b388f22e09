"""What attempts print: the last of it, kept per attempt, whatever the amount.

The bytes come from the pipe that is a slot's standard output and error; ``slot.stdio`` says how
they are marked. Attempts are known here by the order in which the slot started them, from 1.
"""

import re

from disco_engine.worker.slot.stdio import MARK

KEPT_BYTES = 16 * 1024

_MARK_SIZE = len(MARK % 0)
_MARKS = re.compile(re.escape(MARK % 0).replace(b"0" * 16, rb"(\d{16})"))


BINARY = "Binary message data: "
"""What a line begins with that is no text: its bytes follow, with escapes for what is not ASCII."""

_INNER_BYTES = bytes(range(0x80, 0xC0))  # of a character in UTF-8, all but its first


def _decoded(data: bytes | bytearray) -> str:
    """Return what was printed as text; a line that is no text is told as what it is."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(map(_line, bytes(data).splitlines(keepends=True)))


def _line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        body = line.rstrip(b"\r\n")
        return BINARY + repr(body)[2:-1] + line[len(body) :].decode()


class _Tail:
    """The last bytes of a stream, and how many came before them."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._cut = 0

    def add(self, data: bytes) -> None:
        self._bytes += data[-KEPT_BYTES:]
        self._cut += max(0, len(data) - KEPT_BYTES)
        if len(self._bytes) > 2 * KEPT_BYTES:
            self._trim()

    def text(self) -> str:
        self._trim()
        if not self._cut:
            return _decoded(self._bytes)
        kept = _decoded(self._bytes.lstrip(_INNER_BYTES))  # the first character may be cut, too
        return f"[… {self._cut:,} bytes before this were cut …]\n{kept}"

    def _trim(self) -> None:
        over = len(self._bytes) - KEPT_BYTES
        if over > 0:
            del self._bytes[:over]
            self._cut += over


class OutputCapture:
    """Sorts what one slot process prints by attempt."""

    def __init__(self) -> None:
        self._tails: dict[int, _Tail] = {}
        self._owner = 1  # whose the next bytes are; what set-up prints is the first attempt's
        self._rest = b""  # perhaps the first half of a mark

    def feed(self, data: bytes) -> None:
        """Take what was read from the pipe."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        if b"\0" in data:
            for mark in _MARKS.finditer(data):
                self._add(data[at : mark.start()])
                self._owner = max(self._owner, int(mark[1]))
                at = mark.end()
            tail = data.find(b"\0\0", max(at, len(data) - _MARK_SIZE + 1))
            if tail < 0 and data.endswith(b"\0") and len(data) > at:
                tail = len(data) - 1
            if tail >= 0:
                self._rest = data[tail:]
                data = data[:tail]
        self._add(data[at:] if at else data)

    def take(self, number: int) -> str:
        """Return what attempt *number* printed; what comes later is of the attempts after it."""
        if self._rest and self._owner <= number:
            # The attempt is over and all of its output is here, so this is no mark.
            self._add(self._rest)
            self._rest = b""
        self._owner = max(self._owner, number + 1)
        tail = self._tails.pop(number, None)
        return "" if tail is None else tail.text()

    def _add(self, data: bytes) -> None:
        if data:
            tail = self._tails.get(self._owner)
            if tail is None:
                tail = self._tails[self._owner] = _Tail()
            tail.add(data)
