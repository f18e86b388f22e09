"""How much the gateway takes on at once."""

from dataclasses import dataclass

from disco_engine.core.settings import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the memory and the time of calls.

    Attributes:
        calls: Answered at once that are neither streams nor uploads.
        uploads: Going on at once.
        streams: Open at once.
        streams_per_caller: Of these, of one caller.
        call_s: Seconds a call may take that is no stream.
        request_bytes: Of a submission, as a message or as JSON.
        request_memory_bytes: Of all large submissions that are dealt with at once; parsed, each
            takes several times as much.
        upload_memory_bytes: All uploads together hold in memory.
        upload_wait_s: Seconds an upload waits for memory that others have.
        upload_idle_s: Seconds an upload may stand still.
        upload_s: Seconds an upload may take.
        recheck_s: After so many seconds of a stream its caller's rights are asked for again, before
            he is told more.
        results_patience_s: Seconds to go on trying while a partition service does not answer.
        stop_s: Seconds that calls may go on when the gateway ends.
    """

    calls: int = 256
    uploads: int = 64
    streams: int = 1_000
    streams_per_caller: int = 500
    call_s: float = 30.0
    request_bytes: int = 4 * MIB
    request_memory_bytes: int = 16 * MIB
    upload_memory_bytes: int = 256 * MIB
    upload_wait_s: float = 10.0
    upload_idle_s: float = 30.0
    upload_s: float = 600.0
    recheck_s: float = 60.0
    results_patience_s: float = 20.0
    stop_s: float = 5.0
