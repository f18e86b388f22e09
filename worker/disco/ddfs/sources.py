"""What is pushed: files, open files, the members of archives."""

import gzip
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

from disco.ddfs.names import safe_name
from disco.error import DiscoError

_IN_MEMORY_BYTES = 16 * 1024 * 1024
_COMPRESSION_LEVEL = 2


def aimed(file: Any) -> tuple[Any, str]:
    """Return (path or open file, name of the blob) of what a program wants to push.

    Raises:
        DiscoError: It is neither a path nor a tuple with one, or with a binary file.
    """
    if isinstance(file, str | Path):
        return file, safe_name(Path(file).name)
    match file:
        case (str(name), source, int()) if hasattr(source, "read"):
            return source, safe_name(name)
        case (source, str(name)) if isinstance(source, str | Path) or hasattr(source, "read"):
            return source, safe_name(name)
    raise DiscoError(f"cannot push {file!r}: expected a path, (path, name) or (file, name)")


def opened(source: Any) -> AbstractContextManager[IO[bytes]]:
    """Return a context manager that gives the binary file; it closes only what it has opened."""
    return open(source, "rb") if isinstance(source, str | Path) else nullcontext(source)


def tarblobs(
    tarball: str, *, compress: bool, include: str | None, exclude: str | None
) -> Iterator[tuple[str, IO[bytes], int]]:
    """Yield (name, file, size) of the files in a tar archive; each is closed after its turn."""
    with tarfile.open(tarball) as archive:
        for member in archive:
            if not member.isfile():
                continue
            if (include and include not in member.name) or (exclude and exclude in member.name):
                continue
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as content:
                source: Any = archive.extractfile(member)
                with source:
                    if compress:
                        with gzip.GzipFile(
                            fileobj=content, mode="wb", compresslevel=_COMPRESSION_LEVEL
                        ) as packed:
                            shutil.copyfileobj(source, packed)
                    else:
                        shutil.copyfileobj(source, content)
                size = content.tell()
                content.seek(0)
                yield safe_name(member.name) + ("_gz" if compress else ""), content, size
