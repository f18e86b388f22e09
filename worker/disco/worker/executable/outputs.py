"""What a program has written, as records."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from disco.error import DataError
from disco.worker.executable.dialogue import ProgramOutput
from disco.worker.record_streams import disco_input_stream
from disco_engine.core.model import Failure, FailureKind
from disco_engine.program import ProgramError


def pairs_of_output(home: Path, output: ProgramOutput) -> Iterator[Any]:
    """Yield the records of a file that a program has written.

    Args:
        home: The job home.
        output: What the program said of it.

    Raises:
        ProgramError: USER: it is not there, shorter than was said, not in the job home, or has
            neither of Disco's formats.
    """
    path = home / output.path
    try:
        if not path.resolve().is_relative_to(home.resolve()):
            raise _unusable(output, "it is not in the job home")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(output, "it is no file")
        if status.st_size < output.size_bytes:
            raise _unusable(
                output, f"it has {status.st_size:,} bytes, and was to have {output.size_bytes:,}"
            )
        with path.open("rb") as file:
            yield from disco_input_stream(_Bounded(file, status.st_size), None, str(path))
    except (ProgramError, MemoryError):
        raise
    except OSError as error:
        raise _unusable(output, error.strerror or str(error)) from error
    except Exception as error:  # what is no pickle may raise anything
        reason = error.msg if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        raise _unusable(
            output,
            f"{reason}; it must have records in Disco's chunk format, or lines of"
            " 'length key length value'",
        ) from error


class _Bounded:
    """A file of which nobody can ask for more than there is: no memory is taken for that."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _unusable(output: ProgramOutput, reason: str) -> ProgramError:
    return ProgramError(
        Failure(
            kind=FailureKind.USER,
            message=f"the program's output {output.path!r} (label {output.label}) cannot be read:"
            f" {reason}",
        )
    )
