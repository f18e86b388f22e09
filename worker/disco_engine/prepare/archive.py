"""Fetches an archive, checks that it is the one that was meant, and unpacks it.

Nothing of an archive is looked at before its checksum is known to be right, and nothing in it can
write outside of the directory that it is unpacked to.
"""

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from disco_engine.inputs.opening import pieces
from disco_engine.inputs.urls import reason_of
from disco_engine.prepare.telling import PrepareError, size_text, without_secrets
from disco_engine.program import ProgramError

_SHOWN_NAMES = 10


def unpack_from(url: str, sha256: str, target: Path) -> None:
    """Make *target* the content of the archive at *url*; what was there before is removed.

    Args:
        url: Of a ZIP or (compressed) tar file: a path or any URL that jobs can read.
        sha256: Of the file, in hexadecimal digits; empty: any will do.
        target: A directory; made if missing, like those above it.

    Raises:
        PrepareError: The file cannot be read, is another than was meant or no archive, or holds
            something that must not be unpacked.
    """
    shown = without_secrets(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115  (closed just below)
    except OSError as error:
        raise PrepareError(
            f"nothing can be written to {target.parent}: {reason_of(error)}"
        ) from error
    with file:
        size, digest = _fetch(url, file)
        print(f"fetched {shown}: {size_text(size)}, SHA-256 {digest}", flush=True)
        if sha256 and digest != sha256.lower():
            raise PrepareError(
                f"{shown} is not the file that was meant: its SHA-256 is {digest}, and not"
                f" {sha256.lower()}"
            )
        try:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            _unpack(file, target)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError) as error:
            raise PrepareError(f"{shown} cannot be unpacked: {reason_of(error)}") from error
        except OSError as error:
            raise PrepareError(
                f"{shown} cannot be unpacked to {target}: {reason_of(error)}"
            ) from error
    print(f"unpacked to {target}: {_summary(target)}", flush=True)


def _fetch(url: str, file: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in pieces(url, decompress=False):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    except ProgramError as error:
        raise PrepareError(f"the archive cannot be fetched: {error.failure.message}") from error
    except OSError as error:  # of our own file; those of the archive are ProgramErrors
        raise PrepareError(
            f"{without_secrets(url)} cannot be kept after {size_text(size)}: {reason_of(error)}"
        ) from error
    file.seek(0)
    return size, digest.hexdigest()


def _unpack(file: IO[bytes], target: Path) -> None:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                _check_inside(name)
            archive.extractall(target)
        return
    file.seek(0)
    try:
        tar = tarfile.open(fileobj=file)  # noqa: SIM115  (closed below; what fails here is another)
    except tarfile.ReadError as error:
        raise tarfile.ReadError("it is neither a ZIP nor a tar file") from error
    with tar:
        for member in tar:
            _check_inside(member.name)
            _extract(tar, member, target)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        tar.extract(member, target, filter="data")  # refuses links that lead outside, devices
    elif member.isreg() or member.isdir():
        tar.extract(member, target, set_attrs=False)
        if member.isreg():
            (target / member.name).chmod(member.mode & 0o755 | 0o600)
    else:
        raise tarfile.ExtractError(
            f"its member {member.name!r} is neither a file nor a directory; from Python 3.11.4 on"
            " links within the archive are unpacked, too"
        )


def _check_inside(name: str) -> None:
    """Refuse what ``zipfile`` would quietly put elsewhere, and what ``tarfile`` would only warn of.

    Raises:
        ValueError: The name leads out of the archive.
    """
    if name.startswith("/") or ".." in Path(name).parts:
        raise ValueError(f"its member {name!r} would be outside of the directory")


def _summary(target: Path) -> str:
    files = [path for path in target.rglob("*") if path.is_file()]
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in target.iterdir())
    if len(names) > _SHOWN_NAMES:
        names[_SHOWN_NAMES:] = ["…"]
    size = sum(path.stat().st_size for path in files)
    return f"{len(files)} files, {size_text(size)}; at the top: {', '.join(names) or 'nothing'}"
