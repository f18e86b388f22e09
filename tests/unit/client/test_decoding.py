"""Which records are read, and of whom."""

import marshal
import struct
import zlib
from typing import Any

import pytest

from disco.client import submitted
from disco.client.decoding import may_trust, pairs
from disco.client.errors import LostRecordsError, UntrustedError
from disco.v1 import jobs_pb2
from disco_engine.records.blocks import encode

Pairs = list[tuple[Any, Any]]


def read(*frames: bytes, trusted: bool) -> Pairs:
    blocks = [jobs_pb2.ResultBlock(frame=frame) for frame in frames]
    return list(pairs(blocks, "ns/job", trusted=trusted))


def framed(payload: bytes, flags: int = 0, records: int = 1) -> bytes:
    """Return a frame that nothing of ours would write."""
    fields = struct.pack("<4sBBHIQQ", b"DSCF", 1, 0, flags, records, len(payload), len(payload))
    return fields + struct.pack("<I", zlib.crc32(payload, zlib.crc32(fields))) + payload


def test_plain_records_are_read_of_anybody() -> None:
    frame = encode(["a", b"b", None, (1, "x")], [1.5, True, 2**99, "é"])
    expected = [("a", 1.5), (b"b", True), (None, 2**99), ((1, "x"), "é")]
    assert read(frame, trusted=False) == read(frame, trusted=True) == expected


@pytest.mark.parametrize(("key", "value"), [([1], 1), (1, [1]), ("a", {"b": 1}), (("a", (1,)), 1)])
def test_pickles_are_read_of_those_who_are_trusted_only(key: Any, value: Any) -> None:
    frame = encode([key], [value])
    assert read(frame, trusted=True) == [(key, value)]
    with pytest.raises(UntrustedError, match="ns/job hold pickles"):
        read(frame, trusted=False)


def test_a_frame_that_no_worker_writes_is_not_opened() -> None:
    """It says that it has no pickles, and marshal would reserve 16 GiB for it."""
    bomb = framed(b"(" + struct.pack("<i", 2**31 - 1))
    with pytest.raises(UntrustedError, match="not what workers write"):
        read(bomb, trusted=False)


@pytest.mark.parametrize("value", [5, ([1], 2, None), ([1], [1], 7), ([1], [1])])
def test_a_frame_whose_content_makes_no_sense_is_an_error(value: Any) -> None:
    frame = framed(marshal.dumps(value, 2))
    for trusted in (True, False):
        with pytest.raises(LostRecordsError, match="results of ns/job"):
            read(frame, trusted=trusted)


def test_a_damaged_frame_is_told() -> None:
    frame = bytearray(encode(["a"], [1]))
    frame[-1] ^= 1
    with pytest.raises(LostRecordsError, match="checksum"):
        read(bytes(frame), trusted=False)


def test_who_has_submitted_a_job_is_trusted_and_whoever_is_said_to_be() -> None:
    submitted.remember("mine")
    assert may_trust("mine", trust=False)
    assert not may_trust("theirs", trust=False)
    assert may_trust("theirs", trust=True)
