"""``disco://HOST:PORT/UID/STAGE/TASK``: a part of a job's result."""

from typing import Any

from disco.task import running_task
from disco.worker.record_streams import RecordStream


def open(url: str) -> RecordStream:
    """Return the (key, value) records of the part.

    In a task they come through its worker; in the author's process straight from the service.
    """
    task = running_task()
    if task is not None:
        from disco.worker.reading import result_pairs

        return RecordStream(result_pairs(url, task.context), url)
    from disco.results import pairs_of_part  # what needs gRPC is not imported in slots

    return RecordStream(pairs_of_part(url), url)


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url)."""
    return open(url), None, url
