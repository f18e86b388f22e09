"""From frames to records, without running what somebody else wrote.

A frame says in its header whether its keys or values are pickles, which run code when they are
read. The others are only marshalled; those of strangers are looked through before.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from disco.client import submitted
from disco.client.errors import LostRecordsError, UntrustedError
from disco.v1 import jobs_pb2
from disco_engine.records.blocks import Frame, FrameCorruptError, has_pickles, payload_of
from disco_engine.records.plain import is_plain
from disco_engine.records.readers import pairs_of


def pairs(blocks: Iterable[jobs_pb2.ResultBlock], job: str, *, trusted: bool) -> Iterator[Any]:
    """Return the (key, value) records of some frames, in order.

    Args:
        blocks: From a server.
        job: What to call the job in messages.
        trusted: Whoever wrote them may run code here.

    Raises:
        UntrustedError: Some hold pickles, and nobody says that they may be trusted.
        LostRecordsError: While iterating: a frame is not what was written.
    """
    frames = [Frame(block.frame) for block in blocks]
    if not trusted and any(map(has_pickles, frames)):
        raise UntrustedError(distrust(job))
    return _checked(frames, job, trusted=trusted)


def _checked(frames: list[Frame], job: str, *, trusted: bool) -> Iterator[Any]:
    try:
        if not trusted and not all(is_plain(payload_of(frame)) for frame in frames):
            raise UntrustedError(f"records of {job} are not what workers write: they are not read")
        yield from pairs_of(frames)
    except (FrameCorruptError, TypeError, ValueError) as error:
        raise LostRecordsError(f"results of {job}: {error}; read them again") from error


def distrust(job: str) -> str:
    """Return why records are not read."""
    return (
        f"records of {job} hold pickles, which can run any code where they are read, and this user"
        " has not submitted the job from here: read them only if you trust who did (trust=True, or"
        " --trust), or let the job write plain values (text, bytes, numbers)"
    )


def may_trust(uid: str, *, trust: bool) -> bool:
    """Return whether pickles of a job may be read."""
    return trust or submitted.is_ours(uid)
