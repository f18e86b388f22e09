"""Where a task's records go: buffers per label that become frames."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from disco_engine.core.model import Label


class RecordWriter(Protocol):
    """Where a task's records go: to a partition service, or into a file of the job's output."""

    def add(self, label: Label, key: Any, value: Any) -> None:
        """Write one record."""
        ...

    def extend(self, label: Label, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Write many records with one label."""
        ...

    def partition(self, pairs: Iterable[tuple[Any, Any]], label_of: Callable[[Any], Label]) -> None:
        """Write many records, each with the label of its key.

        *label_of* must answer the same for equal keys: answers are remembered.
        """
        ...

    def close(self) -> None:
        """Write what is still buffered. Nothing may be written afterwards."""
        ...
