import random

from disco_engine.partition.lanes import Lane

HEADER = b"h" * 44


def content(lane: Lane, disk: bytes, position: int = 0) -> bytes:
    parts = []
    for span in lane.spans(position):
        data = disk[span.at : span.at + span.size] if span.data is None else bytes(span.data)
        assert len(data) == span.size
        parts.append(data)
    return b"".join(parts)


def test_bytes_keep_their_place_in_the_lane_while_they_move_to_the_disk() -> None:
    draw = random.Random(1)
    lane, other, disk, written = Lane(), Lane(), bytearray(), bytearray()
    starts = []
    for _ in range(200):
        frame = draw.randbytes(draw.choice((0, 1, 100, 20_000, 70_000)))
        starts.append(len(written))
        lane.append(HEADER, frame)
        written += HEADER + frame
        if draw.random() < 0.2:
            tail = lane.begin_write()
            lane.append(HEADER, b"meanwhile")
            written += HEADER + b"meanwhile"
            assert content(lane, bytes(disk)) == written
            if draw.random() < 0.5:
                lane.fail_write()
            else:
                at = len(disk)
                disk += b"".join(tail.parts)
                lane.end_write(at)
                disk += b"of another lane" * draw.randrange(2)
        position = draw.choice(starts)
        assert content(lane, bytes(disk), position) == written[position:]
    assert content(lane, bytes(disk), len(written)) == b""
    assert content(other, b"") == b""


def test_extents_that_touch_become_one() -> None:
    lane = Lane()
    for at, size in ((10, 5), (15, 5), (30, 1), (31, 9)):
        lane.add_extent(at, size)
    assert [(span.at, span.size) for span in lane.spans(0)] == [(10, 10), (30, 10)]
    assert [(span.at, span.size) for span in lane.spans(7)] == [(17, 3), (30, 10)]


def test_many_tiny_blocks_are_few_objects() -> None:
    lane = Lane()
    for _ in range(10_000):
        lane.append(HEADER, b"tiny")
    assert lane.waiting is not None
    assert lane.waiting.size == 480_000
    assert len(lane.waiting.parts) < 10
