"""What a program reads: URLs as they are, and in later stages local files that hold the records.

A program cannot ask partition services. What it is to read of them is put into files in the job
home, some at a time, when it asks for inputs: a program that removes what it has read needs no more
room on disk than `BATCH_BYTES` and a bit, however much the task has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, Protocol

from disco.ddfs.chunks import CHUNK_SIZE
from disco.fileutils import DiscoOutputStream_v0, DiscoOutputStream_v1
from disco.worker.executable.dialogue import ProgramInput
from disco.worker.reading import counted_frames, result_pairs
from disco_engine.core.model import Label
from disco_engine.inputs.urls import DISCO, scheme_of
from disco_engine.program import TaskContext
from disco_engine.records.readers import pairs_of
from disco_engine.records.spills import SpillError

BATCH_BYTES = 256 * 1024 * 1024
"""After how many bytes in files a program is told that there are more, for when it asks again."""

_DIRECTORY = "inputs"
_SIZE_CHECK = 1000  # records between two looks at how long a file has become


class _Writer(Protocol):
    def add(self, key: Any, value: Any) -> None: ...
    def close(self) -> None: ...


Writer = Callable[[IO[bytes]], _Writer]

WRITERS: dict[str, Writer] = {"pickle": DiscoOutputStream_v1, "netstring": DiscoOutputStream_v0}
"""What writes the files, by the name of their format: Disco's chunks of today and of old."""


class TaskInputs:
    """The inputs of one attempt.

    Args:
        context: Of the task.
        home: The job home; the files go below it.
        form: Their format, one of ``WRITERS``.
        batch_bytes: As ``BATCH_BYTES``.
        chunk_bytes: After how many bytes a file ends.
    """

    def __init__(
        self,
        context: TaskContext,
        home: Path,
        form: str = "pickle",
        *,
        batch_bytes: int = BATCH_BYTES,
        chunk_bytes: int = CHUNK_SIZE,
    ) -> None:
        self._context = context
        self._directory = home / _DIRECTORY
        self._writer = WRITERS[form]
        self._batch_bytes = batch_bytes
        self._chunk_bytes = chunk_bytes
        self._ids = count()
        self._here: list[ProgramInput] = []
        self._coming = self._all()
        self._next: tuple[ProgramInput, int] | None = None  # looked at, not given yet
        self._begun = False

    @property
    def here(self) -> Sequence[ProgramInput]:
        """Those that can be read now."""
        return self._here

    @property
    def are_complete(self) -> bool:
        """There will be no more."""
        return self._begun and self._next is None

    def bring_more(self) -> None:
        """Make some more of them readable; at least one, unless they are complete.

        Raises:
            ProgramError: They cannot be read.
            SpillError: The disk is full.
        """
        if not self._begun:
            self._begun = True
            self._next = next(self._coming, None)
        room = self._batch_bytes
        while self._next is not None and room > 0:
            one, size_bytes = self._next
            self._here.append(one)
            room -= size_bytes
            self._next = next(self._coming, None)

    def _all(self) -> Iterator[tuple[ProgramInput, int]]:
        """Yield each input, with how many bytes it takes on disk."""
        context = self._context
        for item in context.inputs:
            if scheme_of(item.urls[0]) == DISCO:
                yield from self._files(result_pairs(item.urls[0], context), item.label)
            else:
                yield ProgramInput(id=next(self._ids), label=item.label, urls=item.urls), 0
        for source in context.sources:
            yield from self._files(pairs_of(counted_frames(source, context)), source.label)

    def _files(
        self, pairs: Iterable[tuple[Any, Any]], label: Label
    ) -> Iterator[tuple[ProgramInput, int]]:
        """Yield inputs that hold *pairs*: files of about a chunk's length."""
        left = iter(pairs)
        for pair in left:
            number = next(self._ids)
            path = self._directory / str(number)
            try:
                self._directory.mkdir(exist_ok=True)
                with path.open("wb") as file:
                    self._fill(file, chain((pair,), left))
                    size_bytes = file.tell()
            except OSError as error:
                raise SpillError(
                    error.errno,
                    f"the program's input cannot be written to {path}: {error.strerror}; give the"
                    " workers more local disk, or have the program remove files it has read",
                ) from error
            yield ProgramInput(id=number, label=label, urls=(f"file://{path}",)), size_bytes

    def _fill(self, file: IO[bytes], pairs: Iterator[tuple[Any, Any]]) -> None:
        writer = self._writer(file)
        for number, (key, value) in enumerate(pairs, start=1):
            writer.add(key, value)
            if not number % _SIZE_CHECK and file.tell() >= self._chunk_bytes:
                break
        writer.close()
