from collections.abc import Callable

import pytest

from disco_engine.core.model import AttemptId
from disco_engine.partition.segment import HEADER_BYTES, Read, blocks_in, pack_header

WHO = AttemptId(1, 7, 2, 3)


def log_of(*frames: bytes) -> bytes:
    return b"".join(pack_header(WHO, -5, 9, len(frame)) + frame for frame in frames)


def reader(log: bytes) -> Read:
    return lambda at, size: log[at : at + size]


def frames_in(log: bytes) -> list[bytes]:
    return [block.frame(reader(log)) for block in blocks_in(reader(log), 0, len(log))]


def test_blocks_come_back_as_they_were_written() -> None:
    log = log_of(b"", b"one", bytes(100_000), b"three")
    blocks = list(blocks_in(reader(log), 0, len(log)))
    assert frames_in(log) == [b"", b"one", bytes(100_000), b"three"]
    assert {block.header.of(1) for block in blocks} == {WHO}
    assert blocks[1].header[3:] == (-5, 9, 3)
    assert [block.at for block in blocks[1:]] == [block.end for block in blocks[:-1]]
    assert blocks[-1].end == len(log)


def test_a_block_that_is_cut_off_is_not_there() -> None:
    log = log_of(b"one", b"two")
    for end in range(HEADER_BYTES + 3, len(log)):
        assert frames_in(log[:end]) == [b"one"]


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_flipped_bit_in_a_header_costs_that_block_and_no_other(at: int) -> None:
    log = bytearray(log_of(b"one", b"two" * 50_000, b"three"))
    log[HEADER_BYTES + 3 + at] ^= 1
    assert frames_in(bytes(log)) == [b"one", b"three"]


@pytest.mark.parametrize("gap", [1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("fill", [bytes, lambda size: (b"DBlk" * size)[:size]])
def test_the_next_header_is_found_wherever_it_is(gap: int, fill: Callable[[int], bytes]) -> None:
    log = fill(gap) + log_of(b"one", b"two")
    assert frames_in(log) == [b"one", b"two"]


def test_nothing_but_damage_ends_too() -> None:
    assert frames_in(bytes(200_000)) == []
    assert list(blocks_in(lambda at, size: b"", 0, 1000)) == []  # a file that was cut
