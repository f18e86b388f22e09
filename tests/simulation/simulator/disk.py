"""Disks that outlive processes, and that can be full, be corrupted, or see a write cut in two.

A process touches a disk through a ``Mount``, which dies with the process. Files are byte arrays; a
write that was made stays if the process is killed, as in a page cache. A machine that loses its
power forgets what its page cache had not written back.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from random import Random
from typing import Self

from disco_engine.partition.appendfile import AppendFile, Part

SECTOR_BYTES = 64
"""What cannot be read is at least so much; far less than on a real disk, as the files are."""


class PowerCut(BaseException):
    """The process is dead: nothing it does from here on has an effect."""


class Disk:
    """What one partition service has on its volume.

    Attributes:
        files: Their contents, by name.
        refused: With which error no write succeeds; 0: they do.
        unreadable: Bytes that the medium does not give back: of which file, and where.
        settled: How much of each file has reached the medium.
    """

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.files: dict[str, bytearray] = {}
        self.settled: dict[str, int] = {}
        self.refused = 0
        self.unreadable: list[tuple[str, range]] = []
        self._random = random

    def settle(self) -> None:
        """Let the operating system write back what it has."""
        self.settled = {name: len(content) for name, content in self.files.items()}

    def cut(self, name: str, end: int) -> None:
        """Forget everything of a file from *end* on, also what could not be read."""
        del self.files[name][end:]
        self.unreadable = [
            (other, sector if other != name else range(sector.start, min(sector.stop, end)))
            for other, sector in self.unreadable
            if other != name or sector.start < end
        ]

    def lose_power(self) -> None:
        """Forget some of what was not written back: the end of each file, or a hole in it."""
        for name, content in self.files.items():
            kept = min(self.settled.get(name, 0), len(content))
            end = self._random.randint(kept, len(content))
            if self._random.random() < 0.3 and end < len(content):
                content[kept:end] = bytes(end - kept)  # its size was written, its content was not
            else:
                del content[end:]

    def wipe(self) -> None:
        """Lose everything: the volume went with its machine."""
        self.files.clear()
        self.settled.clear()
        self.unreadable.clear()

    def corrupt(self, but: tuple[str, ...]) -> str:
        """Damage a file whose name begins with none of *but*; return what and where, if any."""
        files = [
            name for name, content in self.files.items() if content and not name.startswith(but)
        ]
        if not files:
            return ""
        name = self._random.choice(sorted(files))
        at = self._random.randrange(len(self.files[name]))
        if self._random.random() < 0.5:
            self.files[name][at] ^= 1 << self._random.randrange(8)
            return f"a bit flips in byte {at} of {name}"
        begin = at - at % SECTOR_BYTES
        sector = range(begin, min(begin + SECTOR_BYTES, len(self.files[name])))
        self.unreadable.append((name, sector))
        return f"bytes {sector.start} to {sector.stop} of {name} cannot be read any more"


class Mount:
    """A process's way to a disk.

    Attributes:
        disk: Which.
        alive: The process is.
        touches_left: After so many more touches the process dies, in the middle; None: it does not.
    """

    def __init__(self, disk: Disk, random: Random, on_death: Callable[[str], None]) -> None:
        self.disk = disk
        self.alive = True
        self.touches_left: int | None = None
        self._random = random
        self._on_death = on_death

    def touch(self, what: str) -> bool:
        """Note that the disk is about to be changed; return whether it must be done by halves.

        Raises:
            PowerCut: The process is dead, or dies before this.
        """
        if not self.alive:
            raise PowerCut
        if self.touches_left is None:
            return False
        self.touches_left -= 1
        if self.touches_left > 0:
            return False
        if what == "write" and self._random.random() < 0.6:
            return True
        self.die(f"before it could {what}")
        return False

    def die(self, when: str) -> None:
        """Kill the process, here and now."""
        self.alive = False
        self._on_death(when)
        raise PowerCut


class SimulatedPath:
    """As much of a ``pathlib.Path`` as the partition service uses."""

    def __init__(self, mount: Mount, name: str = "") -> None:
        self.mount = mount
        self.name = name

    def __truediv__(self, name: str) -> "SimulatedPath":
        return SimulatedPath(self.mount, name)

    def __str__(self) -> str:
        return f"{self.mount.disk.name}:/{self.name}"

    def __lt__(self, other: "SimulatedPath") -> bool:
        return self.name < other.name

    @property
    def parent(self) -> "SimulatedPath":
        """The only directory there is."""
        return SimulatedPath(self.mount)

    def mkdir(self, **_: bool) -> None:
        """It is there."""

    def glob(self, pattern: str) -> Iterator["SimulatedPath"]:
        """Yield the files that match."""
        names = [name for name in self.mount.disk.files if fnmatch(name, pattern)]
        return (SimulatedPath(self.mount, name) for name in names)

    def unlink(self, *, missing_ok: bool) -> None:
        """Remove the file."""
        self.mount.touch("remove")
        if self.mount.disk.files.pop(self.name, None) is None and not missing_ok:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self))


class SimulatedFile(AppendFile):
    """The real ``AppendFile``, whose system calls go to a simulated disk."""

    path: SimulatedPath  # type: ignore[assignment]

    def __init__(self, path: SimulatedPath) -> None:
        self.path = path
        self._mount = path.mount
        if path.name not in self._mount.disk.files:
            self._mount.touch("create")
            self._mount.disk.files[path.name] = bytearray()
        self._content = self._mount.disk.files[path.name]
        self.end = len(self._content)
        self._torn = self._damaged = False

    def _write(self, parts: Sequence[Part], at: int) -> int:
        data = b"".join(parts)
        half = self._mount.touch("write")
        refused = self._mount.disk.refused
        if half or refused:
            written = self._mount._random.randrange(len(data) + 1)
            self._content[at : at + written] = data[:written]
            if half:
                self._mount.die(f"after {written} of the {len(data)} bytes of a write")
            raise OSError(refused, os.strerror(refused))
        self._content[at : at + len(data)] = data
        return at + len(data)

    def truncate(self, end: int) -> None:
        """Forget everything from *end* on."""
        self._mount.touch("truncate")
        self._mount.disk.cut(self.path.name, end)
        self.end = end
        self._torn = False

    def _pread(self, start: int, size: int) -> bytes:
        if not self._mount.alive:
            raise PowerCut
        for name, sector in self._mount.disk.unreadable:
            if name == self.path.name and start < sector.stop and sector.start < start + size:
                raise OSError(errno.EIO, "Input/output error")
        return bytes(self._content[start : start + size])

    def size_on_disk(self) -> int:
        """Return how many bytes the file really has."""
        return len(self._content)

    def fileno(self) -> int:
        """Return something to lock."""
        return -1

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Nothing has to be kept open."""
        yield

    def close(self) -> None:
        """Nothing was opened."""


class NoLocks:
    """Stands for ``fcntl``: a simulated disk has one process at a time."""

    LOCK_EX = LOCK_NB = 0

    @classmethod
    def flock(cls, fd: int, operation: int) -> None:
        """Lock."""


class NowhereTrees:
    """Stands for ``shutil``, for processes whose scratch files do not matter."""

    @staticmethod
    def rmtree(path: object, ignore_errors: bool = False) -> None:
        """Remove nothing."""


class NowherePath:
    """Stands for the scratch directory of a worker."""

    def __truediv__(self, name: object) -> Self:
        return self

    def absolute(self) -> Self:
        """Return itself."""
        return self

    @property
    def parent(self) -> Self:
        """Itself."""
        return self

    def exists(self) -> bool:
        """It is there."""
        return True

    def mkdir(self, **_: bool) -> None:
        """It is there."""

    def rmdir(self) -> None:
        """It stays."""
