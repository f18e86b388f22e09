"""The service's memory on disk: epoch, plan, and which attempts are sealed.

Entries are appended after the blocks they speak of are in the logs. There is no fsync: a process
that is killed loses nothing that was written, and what a dying machine loses is found by counting.
"""

import fcntl
import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from disco.v1 import partition_pb2
from disco_engine import wire
from disco_engine.core.model import AttemptId, SealedAttempt
from disco_engine.partition.appendfile import AppendFile

_ENTRY = struct.Struct("<IIB")  # length of the payload, checksum of kind and payload, kind
_EPOCH = struct.Struct("<Q")
_ATTEMPT = struct.Struct("<IIQI")
_PIECE_BYTES = 1024 * 1024


class Kind(IntEnum):
    """What an entry says; the numbers are on disk."""

    JOB = 1  # the job's uid: first in every journal
    EPOCH = 2  # a coordinator attached
    PLAN = 3  # a serialised Plan
    SEALED = 4  # a serialised SealedAttempt
    DROPPED = 5  # an attempt is neither sealed nor kept any more
    EMPTIED = 6  # everything was dropped, and nothing is accepted any more
    KEPT = 7  # a serialised SealedAttempt that is only a copy; SEALED may follow


class Entry(NamedTuple):
    """One thing the journal says."""

    kind: Kind
    payload: bytes

    def pack(self) -> bytes:
        """Return the entry's bytes on disk."""
        checksum = zlib.crc32(self.payload, self.kind)
        return _ENTRY.pack(len(self.payload), checksum, self.kind) + self.payload


def job_entry(uid: str) -> Entry:
    """Say whose journal it is."""
    return Entry(Kind.JOB, uid.encode())


def epoch_entry(epoch: int) -> Entry:
    """Say that *epoch* is the newest."""
    return Entry(Kind.EPOCH, _EPOCH.pack(epoch))


def epoch_of(payload: bytes) -> int:
    """Return what ``epoch_entry`` was given."""
    (epoch,) = _EPOCH.unpack(payload)
    return int(epoch)


def dropped_entry(attempt: AttemptId) -> Entry:
    """Say that an attempt is neither sealed nor kept any more."""
    return Entry(Kind.DROPPED, _ATTEMPT.pack(*attempt))


def dropped_of(payload: bytes) -> AttemptId:
    """Return what ``dropped_entry`` was given."""
    return AttemptId._make(_ATTEMPT.unpack(payload))


def sealed_entry(sealed: SealedAttempt) -> Entry:
    """Say that an attempt is sealed."""
    return Entry(Kind.SEALED, wire.sealed_to_wire(sealed).SerializeToString())


def kept_entry(copy: SealedAttempt) -> Entry:
    """Say that an attempt is kept as a copy."""
    return Entry(Kind.KEPT, wire.sealed_to_wire(copy).SerializeToString())


class DirectoryInUseError(Exception):
    """The data directory cannot be this service's; give it another."""


class JournalDamagedError(OSError):
    """What was written into the journal does not come back: only a new process can go on.

    It believes what comes before the damage, and its coordinator has the rest made again.
    """


class Journal:
    """The entries on disk, and those that wait for their blocks to be written.

    Attributes:
        pending: Packed entries that are not on disk, oldest first.
        size: Bytes of those that are.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal, or begin one, and keep other processes out.

        Raises:
            DirectoryInUseError: Another process has it open.
        """
        self.pending: list[bytes] = []
        self._file = AppendFile(path)
        self.size = self._file.end
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise DirectoryInUseError(
                f"{path.parent} is the data directory of another running partition service;"
                " choose another --data-dir"
            ) from error

    def add(self, entry: Entry) -> None:
        """Have *entry* wait for the next commit."""
        self.pending.append(entry.pack())

    def write(self, entries: Iterable[bytes]) -> None:
        """Append packed entries to the file; blocks. Nobody sees them there before ``written``.

        Raises:
            OSError: None of them is in the file.
        """
        self._file.append([b"".join(entries)])

    def written(self, count: int) -> None:
        """Note that the first *count* pending entries are on disk."""
        del self.pending[:count]
        self.size = self._file.end

    def entries(self) -> Iterator[Entry]:
        """Return all entries as of this call, also if some are added or written meanwhile.

        Raises:
            JournalDamagedError: While iterating: not all of them are there.
        """
        return _entries(self._file, self.size, list(self.pending))

    def sealed(self) -> Iterator[partition_pb2.SealedAttempt]:
        """Return all attempts that were ever sealed as of this call, dropped ones too."""
        return self._attempts(Kind.SEALED)

    def copies(self) -> Iterator[partition_pb2.SealedAttempt]:
        """Return all attempts that were ever kept as copies, also those that were sealed later."""
        return self._attempts(Kind.KEPT)

    def _attempts(self, kind: Kind) -> Iterator[partition_pb2.SealedAttempt]:
        entries = self.entries()  # now, not when the first is asked for
        return (
            partition_pb2.SealedAttempt.FromString(entry.payload)
            for entry in entries
            if entry.kind is kind
        )

    def cut_damage(self) -> int:
        """Remove everything from the first damaged or half-written entry on; return the bytes."""
        good = 0
        for end, _ in _read(self._file, self.size):
            good = end
        cut = self.size - good
        if cut:
            self._file.truncate(good)
            self.size = good
        return cut

    def start_over(self, entries: Iterable[Entry]) -> None:
        """Replace all entries by *entries*.

        Raises:
            OSError: The journal is empty, and may stay so.
        """
        self.pending.clear()
        self._file.truncate(0)
        self.size = 0
        self.write(entry.pack() for entry in entries)
        self.size = self._file.end

    def close(self) -> None:
        """Let other processes have the directory."""
        self._file.close()


def _entries(file: AppendFile, end: int, pending: list[bytes]) -> Iterator[Entry]:
    reached = 0
    for behind, entry in _read(file, end):
        reached = behind
        yield entry
    if reached < end:
        raise JournalDamagedError(
            f"{file.path} is damaged from byte {reached:,} on: a new process goes on with what is"
            " before; check the disk"
        )
    for packed in pending:
        *_, kind = _ENTRY.unpack_from(packed)
        yield Entry(Kind(kind), packed[_ENTRY.size :])


def _read(file: AppendFile, end: int) -> Iterator[tuple[int, Entry]]:
    """Yield each good entry and where it ends, holding little more than a piece in memory."""
    base, piece, at = 0, b"", 0
    while True:
        need = _ENTRY.size
        if len(piece) - at >= need:
            length, checksum, kind = _ENTRY.unpack_from(piece, at)
            need += length
        if len(piece) - at < need:
            base, at = base + at, 0
            if base + need > end:
                return
            piece = file.read(base, min(max(need, _PIECE_BYTES), end - base))
            if len(piece) < need:
                return
            continue
        payload = piece[at + _ENTRY.size : at + need]
        # A machine that lost its power may leave zeros, and those have the right checksum.
        if not kind or zlib.crc32(payload, kind) != checksum:
            return
        at += need
        yield base + at, Entry(Kind(kind), payload)
