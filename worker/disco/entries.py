"""What user code reads: an iterator that knows, when something fails, what was being read.

Telling the engine about every record would cost as much as a short map function. Instead records
pass through a generator, and once something has gone wrong its frame still has the last one.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from inspect import GEN_CREATED, getgeneratorlocals, getgeneratorstate
from typing import Any

from disco.error import DataError
from disco_engine.program import ProgramError, TaskContext
from disco_engine.records.blocks import FrameCorruptError
from disco_engine.records.frozen import EarlierRecordError
from disco_engine.records.readers import SortedRecords
from disco_engine.records.spills import SpillError

_READ_ERRORS = (DataError, FrameCorruptError, ProgramError, SpillError)


class Entries(Iterator[Any]):
    """The entries of one call of a user's function, in order.

    Args:
        chunks: Iterables of entries, which follow each other.
    """

    def __init__(self, chunks: Iterable[Iterable[Any]]) -> None:
        self._trouble: BaseException | None = None
        self._entries = self._each(chunks)

    def __iter__(self) -> Iterator[Any]:
        # A `for` loop goes straight to the generator: calls of __next__ would cost far more.
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    @contextmanager
    def watched(self, context: TaskContext) -> Iterator[None]:
        """Tell the engine which entry was the last, if the block fails; close at its end.

        A block that hides from us that its input could not be read, fails: it has seen less than
        there is.
        """
        try:
            yield
        except (EarlierRecordError, ProgramError):
            raise
        except BaseException:
            self._tell(context)
            raise
        finally:
            self.close()
        if self._trouble is not None:
            raise self._trouble

    def close(self) -> None:
        """Read no more."""
        self._entries.close()

    def _tell(self, context: TaskContext) -> None:
        local = getgeneratorlocals(self._entries)  # nothing once all entries have been read
        if "entry" in local:
            context.record(self._shown(local["entry"]))

    def _shown(self, entry: Any) -> Any:
        """Return what to tell of an entry."""
        return entry

    def _each(self, chunks: Iterable[Iterable[Any]]) -> Generator[Any, None, None]:
        try:
            for chunk in chunks:
                for entry in chunk:  # noqa: UP028 - `_tell` reads the name `entry`
                    yield entry
        except _READ_ERRORS as error:
            self._trouble = error
            raise


class SortedEntries(Entries):
    """(key, value) pairs in key order, which are grouped already.

    Args:
        records: From the engine; closed with this.
    """

    def __init__(self, records: SortedRecords) -> None:
        super().__init__((records,))
        self._records = records
        self._grouped = False

    def groups(self) -> Iterator[tuple[Any, Iterator[Any]]] | None:
        """Return an iterator over (key, values), or None if reading has begun already."""
        if self._grouped or getgeneratorstate(self._entries) != GEN_CREATED:
            return None
        self._grouped = True
        self._entries = self._each((self._records.groups(),))
        return self._entries

    def close(self) -> None:
        """Read no more, and remove what was spilled to disk."""
        super().close()
        self._records.close()

    def _shown(self, entry: Any) -> Any:
        return entry[0] if self._grouped else entry  # of a group: its key
