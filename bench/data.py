"""The benchmarks' data: real text gathered on this machine, and generated records to sort."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(os.environ.get("DISCO_BENCH_CACHE", Path.home() / ".cache" / "disco-bench"))
MB = 1_000_000
_BATCH = 5_000  # records

_ROOTS = (
    "/usr/share",
    "/usr/include",
    "/usr/lib/python3",
    "/usr/local",
    "/usr/lib",
    str(Path.home() / ".pyenv"),
)
_SUFFIXES = frozenset(
    [
        ".py",
        ".pyi",
        ".txt",
        ".md",
        ".rst",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".go",
        ".rs",
        ".html",
        ".js",
        ".ts",
        ".java",
        ".tex",
        ".po",
        ".el",
        ".pl",
    ]
)


def text_files(size_mb: int = 512, files: int = 16) -> list[Path]:
    """Return *files* text files of *size_mb* megabytes in all, gathered on first use.

    Only valid UTF-8 goes in, and only text that has the same words as bytes and as str, so that
    every contender counts the same.

    Raises:
        RuntimeError: The machine has too little text.
    """
    folder = CACHE / f"text-{size_mb}mb-{files}"
    paths = [folder / f"part-{i:03d}.txt" for i in range(files)]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        pieces = _pieces()
        for path in paths:
            _fill(path, pieces, size_mb * MB // files)
    return paths


def _fill(path: Path, pieces: Iterator[bytes], size: int) -> None:
    written = 0
    with path.with_suffix(".part").open("wb") as out:
        while written < size:
            piece = next(pieces, None)
            if piece is None:
                raise RuntimeError(f"this machine has too little text: {path} needs {size} bytes")
            written += out.write(piece)
    path.with_suffix(".part").rename(path)


def _pieces() -> Iterator[bytes]:
    seen: set[tuple[int, int]] = set()
    for root in _ROOTS:
        for folder, names, filenames in os.walk(root):
            names.sort()
            for name in sorted(filenames):
                path = Path(folder, name)
                if path.suffix not in _SUFFIXES or path.is_symlink():
                    continue
                info = path.stat()
                if (info.st_dev, info.st_ino) in seen or not 0 < info.st_size < 4 * MB:
                    continue
                seen.add((info.st_dev, info.st_ino))
                data = path.read_bytes().replace(b"\r", b"")
                if not _splits_alike(data):
                    continue
                yield data if data.endswith(b"\n") else data + b"\n"


def _splits_alike(data: bytes) -> bool:
    try:
        return b" ".join(data.split()).decode() == " ".join(data.decode().split())
    except UnicodeDecodeError:
        return False


def sort_files(records: int = 10_000_000, files: int = 16) -> list[Path]:
    """Return *files* files with *records* lines of 100 bytes: 10 random letters, a tab, filler."""
    folder = CACHE / f"sort-{records}-{files}"
    paths = [folder / f"part-{i:03d}.txt" for i in range(files)]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        letters = bytes(range(97, 123)) * 10
        for number, path in enumerate(paths):
            generator = random.Random(number)
            with path.with_suffix(".part").open("wb") as out:
                for first in range(0, records // files, _BATCH):
                    keys = generator.randbytes(10 * _BATCH).translate((letters * 2)[:256])
                    out.writelines(
                        b"%s\t%088d\n" % (keys[10 * i : 10 * i + 10], first + i)
                        for i in range(_BATCH)
                    )
            path.with_suffix(".part").rename(path)
    return paths
