"""One frame: how records become compressed, checksummed bytes, and records again."""

from typing import Any, NamedTuple

from disco_engine.core.model import AttemptId


class Frame(NamedTuple):
    """Encoded records as they travel.

    Attributes:
        data: What ``encode`` returned.
        origin: The attempt that wrote it; None if nobody knows.
    """

    data: bytes
    origin: AttemptId | None = None


class FrameCorruptError(Exception):
    """A frame is not what was written: its length or checksum is wrong.

    The coordinator answers by making the output again; users see it in the job's events.
    """

    def __init__(self, frame: Frame, reason: str) -> None:
        super().__init__(f"frame of {len(frame.data)} bytes written by {frame.origin}: {reason}")
        self.origin = frame.origin


class Block(NamedTuple):
    """Decoded records, in columns.

    Attributes:
        keys: One per record, or one per run of records if ``counts`` is set.
        values: One per record.
        counts: How many consecutive values belong to each key; None: one each.
    """

    keys: list[Any]
    values: list[Any]
    counts: list[int] | None = None
