"""Undo gzip, bzip2, xz and zstd as the bytes come, in bounded memory.

A file may be several compressed members one after the other, with zero bytes between them: that
is how these files are concatenated and padded. Anything else after a member is an error, and so
is an end in the middle of one: half a file must never look like a short one.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

_PIECE_BYTES = 64 * 1024
"""What a decoder gets and is asked for at a time: larger pieces leave the processor's cache."""

_ZSTD_INPUT_BYTES = 512
"""What zstd gets at a time. It has no limit on output: a run of zeros grows 32,000 times."""


class Decoder(Protocol):
    """Decodes one member; ``bz2.BZ2Decompressor`` is one."""

    @property
    def eof(self) -> bool:
        """The member is complete."""
        ...

    @property
    def needs_input(self) -> bool:
        """There is no more output without more input."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What followed the member's end."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take *data*, and return about *max_length* bytes of output, or less."""
        ...


class Codec(NamedTuple):
    """One kind of compression.

    Attributes:
        name: For people.
        suffixes: Of file names that promise it.
        magic: Matches what a file starts with, and nothing that a text starts with.
        decoder: Makes the decoder of one member.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: re.Pattern[bytes]
    decoder: Callable[[], Decoder]


class BrokenError(Exception):
    """The compressed bytes are incomplete; what came before is right. The message says where."""


class DamagedError(BrokenError):
    """They are damaged, so what came before may be wrong: a checksum follows what it is of."""


def codec_of(suffix: str, head: bytes) -> Codec | None:
    """Return how a file is compressed, or None if it is not.

    The content decides. A name that promises compression counts only if the content shows none:
    then the file is broken, and decoding it will say so.

    Args:
        suffix: Of the file's name, in lower case; "" if the name promises nothing.
        head: The first bytes of the file; 16 are enough.
    """
    for codec in CODECS:
        if codec.magic.match(head):
            return codec
    return next((codec for codec in CODECS if suffix in codec.suffixes), None)


def decompressed(codec: Codec, source: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of *source*, in pieces of about 64 KiB.

    Raises:
        DamagedError: The input is damaged, or something else follows its end.
        BrokenError: It ends too early.
    """
    position, members = 0, 0
    decoder: Decoder | None = None
    for data in _small(source):
        while data or (decoder is not None and not decoder.needs_input):
            if decoder is None:
                data = data.lstrip(b"\0") if members else data
                if not data:
                    break
                decoder = codec.decoder()
            try:
                output = decoder.decompress(data, _PIECE_BYTES)
            except MemoryError:
                raise
            except Exception as error:  # each library has its own, and OSError, and EOFError
                raise DamagedError(
                    f"broken {codec.name} data after {position:,} decompressed bytes"
                    f"{' (after the end of a complete member)' if members else ''}: {error}"
                ) from error
            data = b""
            if output:
                position += len(output)
                yield output
            if decoder.eof:
                members += 1
                data, decoder = decoder.unused_data, None
    if decoder is not None or not members:
        raise BrokenError(
            f"the {codec.name} data ends too early, after {position:,} decompressed bytes: "
            "the file is incomplete"
        )


def _small(source: Iterable[bytes]) -> Iterator[bytes]:
    """Cut large pieces: decoders copy what they have not yet used, at every call."""
    for piece in source:
        if len(piece) <= _PIECE_BYTES:
            yield piece
        else:
            for start in range(0, len(piece), _PIECE_BYTES):
                yield piece[start : start + _PIECE_BYTES]


class _Gzip:
    """zlib's decoder in the manner of bz2's."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and checksum
        self._full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        # zlib may hold output although it took all input, but only if it filled what it was given.
        return not self._zlib.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        output = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._full = len(output) == max_length
        return output


class _Zstd:
    """zstandard's decoder in the manner of bz2's."""

    def __init__(self) -> None:
        import zstandard

        self._zstd = zstandard.ZstdDecompressor().decompressobj()
        self._rest = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._zstd.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._zstd.unused_data + self._rest

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:  # and so nothing was left of what came before
            self._rest = memoryview(data)
        outputs, size = [], 0
        while self._rest and size < max_length and not self._zstd.eof:
            output = self._zstd.decompress(self._rest[:_ZSTD_INPUT_BYTES])
            self._rest = self._rest[_ZSTD_INPUT_BYTES:]
            outputs.append(output)
            size += len(output)
        return b"".join(outputs)


def _bzip2() -> Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> Decoder:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ)


CODECS = (
    Codec("gzip", (".gz", ".tgz"), re.compile(rb"\x1f\x8b\x08"), _Gzip),
    # After the level comes the first block's magic number, or that of the end of an empty file.
    Codec("bzip2", (".bz2",), re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), _bzip2),
    Codec("xz", (".xz",), re.compile(rb"\xfd7zXZ\0"), _xz),
    Codec("zstd", (".zst", ".zstd"), re.compile(rb"\x28\xb5\x2f\xfd"), _Zstd),
)
"""All that is read transparently."""
