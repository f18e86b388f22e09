"""The end of every chain of output streams: what takes a task's records."""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from disco.error import DiscoError
from disco_engine.records.writers import RecordWriter, as_pair


class TaskOutput:
    """The end of every output chain: writes records with one label.

    Attributes:
        add: ``add(key, value)`` writes one record.
    """

    add: Callable[[Any, Any], None]

    def __init__(self, writer: RecordWriter, label: int) -> None:
        self.add = partial(writer.add, label)  # as an attribute it costs no call of our own

    def append(self, record: Any) -> None:
        """Write one record, a (key, value) pair."""
        self.add(*as_pair(record, "append()"))

    def write(self, data: bytes) -> NoReturn:
        """Refuse: what a task writes is records.

        Raises:
            DiscoError: Always.
        """
        raise DiscoError(
            "this job's output stream writes bytes, but tasks write (key, value) records here;"
            " leave the output stream out, and for files of text give the job an output URL and"
            " format='text'"
        )

    def close(self) -> None:
        """Do nothing: the engine ends what it began."""
