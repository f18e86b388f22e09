"""Sorted runs on local disk: what a sort cannot keep in memory."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from disco_engine.records.blocks import (
    HEADER_BYTES,
    Frame,
    FrameCorruptError,
    StoredBlock,
    decode_stored,
    encode_parts,
    raw_bytes_of,
    stored_bytes_of,
)


class SpillError(OSError):
    """What was set aside on disk cannot be written, or is not what comes back."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()  # without the number


class Run:
    """A file of frames whose records are in key order from the first to the last.

    Attributes:
        size_bytes: Length of the file.
        largest_payload: Length of the longest frame before compression.
    """

    def __init__(self, path: Path, size_bytes: int, largest_payload: int) -> None:
        self._path = path
        self.size_bytes = size_bytes
        self.largest_payload = largest_payload

    def blocks(self) -> Iterator[StoredBlock]:
        """Yield the records, once: the file is deleted after its last frame.

        Raises:
            SpillError: The file is not what was written.
        """
        with self._path.open("rb") as file:
            left = self.size_bytes
            while left:
                header = file.read(HEADER_BYTES)
                frame = Frame(header + file.read(stored_bytes_of(header)) if header else b"")
                try:
                    yield decode_stored(frame)
                except FrameCorruptError as error:
                    raise SpillError(
                        errno.EIO,
                        f"the spill file {self._path} is not what was written ({error});"
                        " check the disk",
                    ) from error
                left -= len(frame.data)
        self._path.unlink()


class SpillArea:
    """A directory of runs, made when the first is written.

    Attributes:
        written_bytes: Length of all files ever written.
        runs: How many there were.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._directory: Path | None = None
        self.written_bytes = 0
        self.runs = 0

    def write(self, blocks: Iterable[StoredBlock], *, frame_bytes: int) -> Run:
        """Return a new run of some blocks.

        Args:
            blocks: In key order.
            frame_bytes: Payload of a frame before compression.

        Raises:
            SpillError: The disk is full or fails; the message names the directory.
        """
        size_bytes = largest = 0
        try:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="sort-", dir=self._scratch))
            path = self._directory / f"run-{self.runs:05d}"
            with path.open("wb") as file:
                for block in blocks:
                    for _, data in encode_parts(block, frame_bytes):
                        file.write(data)
                        size_bytes += len(data)
                        largest = max(largest, raw_bytes_of(Frame(data)))
        except SpillError:  # of the runs that *blocks* come from
            raise
        except OSError as error:
            number = error.errno or errno.EIO
            raise SpillError(
                number,
                f"cannot spill to {self._directory or self._scratch} after"
                f" {self.written_bytes + size_bytes} bytes ({os.strerror(number)});"
                " free space there, sort with more memory, or use more partitions",
            ) from error
        self.runs += 1
        self.written_bytes += size_bytes
        return Run(path, size_bytes, largest)

    def remove(self) -> None:
        """Delete all files and the directory."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
