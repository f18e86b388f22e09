"""Disco's job packs: one file with all of a job, in the layout that its master takes.

bytes 0-19     five big-endian 32-bit numbers: 0xd5c0 and the version; where the four parts begin
up to 128      zeros
jobdict        JSON: prefix, owner, inputs, pipeline, …
jobenvs        JSON: environment variables
jobhome        a ZIP: the files a job needs
jobdata        what its worker alone understands
"""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any, ClassVar

from disco.error import DiscoError

JOBPACK_VERSION1 = 1
JOBPACK_VERSION2 = 2

_REQUIRED = ("prefix", "worker", "owner", "pipeline", "inputs")


class JobPack:
    """A job pack that is made here; ``load`` gives one that was made before.

    Args:
        version: Of the layout of *jobdict*; 2 has ``pipeline`` and ``inputs``.
        jobdict: What the master must know.
        jobenvs: Environment variables of the worker.
        jobhome: A ZIP of the files.
        jobdata: For the worker.
    """

    MAGIC: ClassVar[int] = 0xD5C0 << 16
    HEADER_FORMAT: ClassVar[str] = "!IIIII"
    HEADER_SIZE: ClassVar[int] = 128
    VERSION: ClassVar[int] = JOBPACK_VERSION2

    def __init__(
        self,
        version: int,
        jobdict: Mapping[str, Any],
        jobenvs: Mapping[str, str],
        jobhome: bytes,
        jobdata: bytes,
    ) -> None:
        self.version = version
        self.jobdict = dict(jobdict)
        self.jobenvs = dict(jobenvs)
        self.jobhome = jobhome
        self.jobdata = jobdata

    @classmethod
    def header(
        cls,
        offsets: Sequence[int],
        magic: int = MAGIC,
        version: int = VERSION,
        format: str = HEADER_FORMAT,
        size: int = HEADER_SIZE,
    ) -> bytes:
        """Return the header of a pack whose parts begin at the four *offsets*."""
        return struct.pack(format, magic | version, *offsets).ljust(size, b"\0")

    def contents(self, offset: int = HEADER_SIZE) -> list[tuple[int, bytes]]:
        """Return (where it begins, its bytes) of each part, in order."""
        found = []
        for part in (
            json.dumps(self.jobdict).encode(),
            json.dumps(self.jobenvs).encode(),
            self.jobhome,
            self.jobdata,
        ):
            found.append((offset, part))
            offset += len(part)
        return found

    def dumps(self) -> bytes:
        """Return the pack's bytes."""
        contents = self.contents()
        header = self.header([offset for offset, _ in contents], version=self.version)
        return header + b"".join(part for _, part in contents)

    @classmethod
    def offsets(cls, jobfile: IO[bytes]) -> tuple[int, list[int]]:
        """Return (version, where the four parts begin) of an open pack.

        Raises:
            DiscoError: It is no pack: "invalid header".
        """
        jobfile.seek(0)
        head = jobfile.read(struct.calcsize(cls.HEADER_FORMAT))
        try:
            magic, *offsets = struct.unpack(cls.HEADER_FORMAT, head)
        except struct.error:
            raise DiscoError(f"invalid header: a job pack is longer than {len(head)} B") from None
        if magic & ~0xFFFF != cls.MAGIC:
            raise DiscoError(f"invalid header: a job pack does not begin with {head[:4]!r}")
        if offsets[0] != cls.HEADER_SIZE or offsets != sorted(offsets):
            raise DiscoError(f"invalid header: the parts of a job pack cannot begin at {offsets}")
        return magic & 0xFFFF, offsets

    @classmethod
    def load(cls, jobfile: IO[bytes]) -> "PackedJobPack":
        """Return the pack in an open file, which is read when it is asked for."""
        return PackedJobPack(jobfile)

    @classmethod
    def loads(cls, data: bytes) -> "PackedJobPack":
        """Return the pack that has these bytes."""
        return cls.load(io.BytesIO(data))

    def check(self) -> None:
        """Refuse what no master would take.

        Raises:
            DiscoError: A "missing key" of the job dict, or an "invalid prefix".
        """
        for key in _REQUIRED:
            if self.jobdict.get(key) is None:
                raise DiscoError(f"missing key {key!r} in the job dict of a job pack")
        check_prefix(self.jobdict["prefix"])


def check_prefix(prefix: Any) -> None:
    """Refuse a prefix that no job's name can have.

    Raises:
        DiscoError: It is empty, or has a character that names do not have.
    """
    if not isinstance(prefix, str) or not prefix or "/" in prefix or "." in prefix:
        raise DiscoError(f"invalid prefix {prefix!r}: a job's name has no '/' and no '.'")


class PackedJobPack(JobPack):
    """A job pack in an open file; each part is read when it is asked for."""

    def __init__(self, jobfile: IO[bytes]) -> None:
        self.jobfile = jobfile

    @property
    def version(self) -> int:  # type: ignore[override]
        """Of the layout of ``jobdict``."""
        return self.offsets(self.jobfile)[0]

    @property
    def jobdict(self) -> dict[str, Any]:  # type: ignore[override]
        """What the master must know."""
        return self._json(0)

    @property
    def jobenvs(self) -> dict[str, str]:  # type: ignore[override]
        """Environment variables of the worker."""
        return self._json(1)

    @property
    def jobhome(self) -> bytes:  # type: ignore[override]
        """A ZIP of the files."""
        return self._part(2)

    @property
    def jobdata(self) -> bytes:  # type: ignore[override]
        """For the worker."""
        return self._part(3)

    def _json(self, number: int) -> dict[str, Any]:
        try:
            found = json.loads(self._part(number))
        except ValueError as error:
            raise DiscoError(f"invalid header: part {number} is no JSON: {error}") from error
        return dict(found)

    def _part(self, number: int) -> bytes:
        _, offsets = self.offsets(self.jobfile)
        self.jobfile.seek(offsets[number])
        if number == len(offsets) - 1:
            return self.jobfile.read()
        return self.jobfile.read(offsets[number + 1] - offsets[number])
