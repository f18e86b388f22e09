"""What a program has written, as records."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disco.error import DataError
from disco.worker.executable.dialogue import ProgramOutput
from disco.worker.task_io import disco_input_stream
from disco_engine.core.model import Failure, FailureKind
from disco_engine.program import ProgramError

# What pickles that are none, or that need what is not installed here, raise.
_DAMAGE = (DataError, pickle.UnpicklingError, EOFError, ValueError, ImportError, AttributeError)


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
        with path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes < output.size_bytes:
                raise _unusable(
                    output, f"it has {size_bytes:,} bytes, and was to have {output.size_bytes:,}"
                )
            yield from disco_input_stream(file, size_bytes, str(path))
    except OSError as error:
        raise _unusable(output, error.strerror or str(error)) from error
    except _DAMAGE as error:
        reason = error.msg if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        raise _unusable(
            output,
            f"{reason}; it must have records in Disco's chunk format, or lines of"
            " 'length key length value'",
        ) from error


def _unusable(output: ProgramOutput, reason: str) -> ProgramError:
    return ProgramError(
        Failure(
            kind=FailureKind.USER,
            message=f"the program's output {output.path!r} (label {output.label}) cannot be read:"
            f" {reason}",
        )
    )
