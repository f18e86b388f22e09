"""Writes a job's records where its reader wants them: a file, a directory, or standard output."""

import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from disco.cli.errors import EXIT_FAILED, EXIT_WRONG_USE, CommandError
from disco_engine.outputs import commit, open_writer, prepare, remove_temporary
from disco_engine.outputs.formats import FORMATS, format_of
from disco_engine.program import ProgramError
from disco_engine.records.frozen import RecordError

Records = Iterable[tuple[Any, Any]]


def format_by_name(path: str) -> str | None:
    """Return the format that a file's name says; None: it says none, so it is a directory."""
    suffix = Path(path).suffix
    return next((name for name, form in FORMATS.items() if form.extension == suffix), None)


def save_directory(path: str, form: str, parts: Iterable[Records]) -> int:
    """Write a file for each part to a new directory, all or nothing; return how many records.

    Raises:
        CommandError: The directory has files, cannot be written, or a record does not fit.
    """
    owner, files, count = uuid.uuid4().hex, [], 0
    with _told(path):
        prepare(path, form, owner)
        try:
            for number, records in enumerate(parts):
                writer = open_writer(path, form, owner, number, "saved")
                try:
                    writer.extend(0, records)
                    writer.close()
                except BaseException:
                    writer.abandon()
                    raise
                files.append(writer.file_name)
                count += writer.records
            commit(path, form, owner, files)
        except BaseException:
            remove_temporary(path, owner)
            raise
    return count


def save_file(path: str, form: str, records: Records) -> int:
    """Write a new file, all or nothing; return how many records.

    Raises:
        CommandError: It is there already, cannot be written, or a record does not fit.
    """
    if os.path.lexists(path):
        raise CommandError(f"{path} exists: choose another name, or remove it", EXIT_WRONG_USE)
    with _told(path):
        handle, temporary = tempfile.mkstemp(dir=Path(path).parent, prefix=".disco-")
        try:
            with os.fdopen(handle, "wb") as file:
                count = encode(file, form, records)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # as any new file: mkstemp's are for the owner only
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    return count


def encode(file: IO[bytes], form: str, records: Records) -> int:
    """Write records to an open file in a format; return how many."""
    encoder, count = format_of(form).encoder(file), 0
    for key, value in records:
        encoder.add(key, value)
        count += 1
    encoder.close()
    file.flush()
    return count


def print_encoded(file: IO[bytes], form: str, records: Records) -> int:
    """Write records to standard output in a format; return how many.

    Raises:
        CommandError: A record does not fit the format.
    """
    with _told("standard output"):
        return encode(file, form, records)


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Turn what goes wrong with a file into the end of the command."""
    try:
        yield
    except (ProgramError, RecordError) as error:
        raise CommandError(str(error), EXIT_FAILED) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"{place}: {error.strerror or error}", EXIT_FAILED) from error
