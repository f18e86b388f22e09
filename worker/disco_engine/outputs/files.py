"""The file that one attempt writes for its part of the job's output."""

import contextlib
import io
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

from disco_engine.core.model import Label
from disco_engine.inputs.urls import failed
from disco_engine.outputs.committing import RUNNING, SUCCESS, is_owned, temporary_of
from disco_engine.outputs.directories import Directory, directory_of, writing
from disco_engine.outputs.formats import format_of
from disco_engine.program import OutputCompleteError
from disco_engine.records.writers import as_pair

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BUFFER_BYTES = 1024 * 1024


class FileWriter:
    """A RecordWriter into one file of the job's temporary directory.

    Labels do not matter: a part has all that its task writes, in the order it was written.

    Attributes:
        producer: As in RecordWriter.
        file_name: Name of the file in the temporary directory; what ``commit`` wants.
        records: How many have been written.
    """

    def __init__(self, directory: Directory, job_uid: str, file_name: str, format: str) -> None:
        self.producer = "the task"
        self.file_name = file_name
        self.records = 0
        name = f"{temporary_of(job_uid)}/{file_name}"
        self._sink = _Sink(directory, name)
        self._file = io.BufferedWriter(self._sink, _BUFFER_BYTES)
        try:
            self._encoder = format_of(format).encoder(self._file)
        except BaseException:
            self._sink.discard()
            self._file.close()
            raise

    def add(self, label: Label, key: Any, value: Any) -> None:
        """Write one record.

        Raises:
            RecordError: The format cannot hold it.
            ProgramError: USER: the storage fails, for instance because it is full.
        """
        self._encoder.add(key, value)
        self.records += 1

    def extend(self, label: Label, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Write many records; raises as ``add`` does."""
        add, count = self._encoder.add, 0
        try:
            for pair in pairs:
                key, value = as_pair(pair, self.producer)
                add(key, value)
                count += 1
        finally:
            self.records += count

    def partition(self, pairs: Iterable[tuple[Any, Any]], label_of: Callable[[Any], Label]) -> None:
        """Write many records; *label_of* is not asked."""
        self.extend(0, pairs)

    def close(self) -> None:
        """Complete the file: once this has returned it can be committed. If it raises, abandon it.

        Raises:
            RecordError: The format cannot hold a record that was kept until now.
            ProgramError: USER: the storage fails.
        """
        self._encoder.close()
        self._file.close()

    def abandon(self) -> None:
        """Remove the file, complete or not. It raises nothing: there is an error already."""
        self._sink.discard()
        with contextlib.suppress(Exception):  # what it still kept goes nowhere
            self._encoder.close()
        self._file.close()


def open_writer(url: str, format: str, job_uid: str, task: int, attempt_name: str) -> FileWriter:
    """Return the writer of one attempt's file.

    Args:
        url: The output directory, which ``prepare`` has made ready.
        format: As for ``prepare``.
        job_uid: The job.
        task: Index of the task in its stage, for people who look at the directory.
        attempt_name: Of one process's try at it: unique in the job, and fit for a file name.

    Raises:
        OutputCompleteError: The job has committed it already.
        ProgramError: FATAL: unknown format, or its package is not installed. USER: the file cannot
            be made, for instance because the job has ended meanwhile.
    """
    extension = format_of(format).extension
    directory = directory_of(url)
    with writing(f"to the output directory {directory.url}"):
        prepared = directory.exists(RUNNING)
        complete = not prepared and is_owned(directory, SUCCESS, job_uid)
    if complete:
        raise OutputCompleteError
    if not prepared:
        raise failed(
            f"output directory {directory.url} has no {RUNNING}: the job has ended, or somebody "
            "removed the directory"
        )
    return FileWriter(directory, job_uid, f"{task:05}-{attempt_name}{extension}", format)


class _Sink(io.RawIOBase):
    """The file itself, whose errors say what could not be written."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._name = name
        self._place = f"{directory.url}/{name}"
        self._discarded = False
        with writing(self._place):
            self._file: IO[bytes] = directory.open(name)

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        if self._discarded:
            return memoryview(data).nbytes
        with writing(self._place):
            return self._file.write(data)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if not self._discarded:
            with writing(self._place):
                self._file.close()

    def discard(self) -> None:
        """Remove the file; what is written from now on goes nowhere."""
        self._discarded = True
        with contextlib.suppress(Exception):
            self._directory.discard(self._file, self._name)
