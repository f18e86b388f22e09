r"""Cut inputs into lines, by byte ranges, with replicas to fall back on.

A range has the lines that *begin* in it. So the tasks of a file need not agree on anything but the
numbers: each skips the line that began before its range, and reads the last of its own to the end.

Only ``\n`` ends a line; a ``\r`` before it is part of the line, as in Disco.
"""

import io
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any, NamedTuple

from disco_engine.core.model import TaskInput
from disco_engine.inputs.opening import pieces
from disco_engine.inputs.replicas import read_replicas
from disco_engine.inputs.urls import RAW, scheme_of, text_of
from disco_engine.program import bad_data


class Block(NamedTuple):
    """Complete lines that follow each other.

    Attributes:
        url: The replica they were read from.
        start: Where the first begins, in bytes of the (decompressed) content.
        data: The lines, each with its newline; only the last of a file may have none.
    """

    url: str
    start: int
    data: bytes


def line_blocks(item: TaskInput) -> Iterator[Block]:
    """Yield the lines of *item*'s range in blocks of about 64 KiB, or one line if that is more.

    When a replica fails, reading goes on in the next one, at the line after the last that was
    yielded.

    Raises:
        ProgramError: DATA: no replica could be read to the end.
    """
    position: int | None = None

    def rest(url: str) -> Iterator[Block]:
        nonlocal position
        for block in _blocks(url, item, position):
            position = block.start + len(block.data)
            yield block

    return read_replicas(item.urls, rest)


def line_chunks(item: TaskInput) -> Iterator[list[Any]]:
    """Yield the lines of *item*'s range in lists, each line with its newline.

    Lines are bytes; those of a ``raw://`` URL are str, as Disco's users know it.

    Raises:
        ProgramError: DATA: no replica could be read to the end.
    """
    if scheme_of(item.urls[0]) == RAW:
        yield io.StringIO(text_of(item.urls[0])).readlines()
        return
    for block in line_blocks(item):
        # Measured: faster than split and splitlines, and (unlike it) it cuts at "\n" only.
        yield io.BytesIO(block.data).readlines()


def lines(item: TaskInput) -> Iterator[Any]:
    """Yield the lines of ``line_chunks`` one by one."""
    return chain.from_iterable(line_chunks(item))


def _blocks(url: str, item: TaskInput, resume: int | None) -> Iterator[Block]:
    """Yield the range's lines from one replica.

    Args:
        url: The replica.
        item: Its range.
        resume: Where a line is known to begin, in the range; None: start with the range.
    """
    end = None if item.length is None else item.offset + item.length
    start = item.offset if resume is None else resume
    if end is not None and start >= end:
        return
    # A line begins after a newline: so the byte before the range is looked at, too.
    skipping = resume is None and item.offset > 0
    position = start - skipping
    begun: list[bytes] = []
    with closing(pieces(url, offset=position, decompress=end is None)) as source:
        for piece in source:
            cut = 0
            if skipping:
                cut = piece.find(b"\n") + 1
                skipping = not cut
                start = position + (cut or len(piece))
                if end is not None and start >= end:
                    return
            if not skipping:
                # The line over the range's last byte is the last one.
                last = -1 if end is None else piece.find(b"\n", max(0, end - 1 - position))
                newline = last if last >= 0 else piece.rfind(b"\n", cut)
                if newline < 0:
                    begun.append(piece[cut:])
                else:
                    data = b"".join((*begun, piece[cut : newline + 1]))
                    yield Block(url, start, data)
                    if last >= 0:
                        return
                    start += len(data)
                    begun = [piece[newline + 1 :]]
            position += len(piece)
    if end is not None and position < end:
        raise bad_data(
            f"{url} has shrunk since the job was planned: it ends before byte {end:,}; "
            "run the job again when nothing writes to its inputs",
            input=url,
        )
    if any(begun):
        yield Block(url, start, b"".join(begun))
