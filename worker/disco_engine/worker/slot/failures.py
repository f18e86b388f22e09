"""Turn whatever user code raised into a Failure that a user can act on."""

import copyreg
import errno
import importlib
import json
import os
import reprlib
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import disco.v1
import disco_engine
from disco_engine.core.model import Failure, FailureKind
from disco_engine.program import ProgramError
from disco_engine.records.blocks import FrameCorruptError
from disco_engine.records.frozen import RecordError
from disco_engine.records.spills import SpillError

RECORD_CHARACTERS = 1_000
_MESSAGE_CHARACTERS = 2_000
_TRACEBACK_CHARACTERS = 16_000
_MOST_NOTES = 100
_ENGINE = (
    str(Path(disco_engine.__path__[0])) + "/",
    str(Path(disco.v1.__path__[0]).parent) + "/",
    str(Path(importlib.__path__[0])) + "/",
    "<frozen ",
)

_SAY_ALL = (RecordError, SpillError)
"""Errors of the engine whose messages say what is wrong with the user's records, or disk."""

# Run on behalf of pickle and of the JSON format, and tell nothing about the user's code.
_HELPERS = (copyreg.__file__, json.encoder.__file__)

NOTHING = object()
"""What stands for "no record is being processed"; None may be a record."""


def failure_of(
    error: BaseException, *, record: object = NOTHING, input: str = "", planning: bool = False
) -> Failure:
    """Return the failure that *error* means for the attempt it ended.

    Args:
        error: What left ``Program.run``, ``Program.plan`` or the loader.
        record: The record that was being processed.
        input: What it came from, if that is known.
        planning: The job was being loaded or planned: its own errors can never heal.
    """
    if isinstance(error, ProgramError):
        return error.failure
    return Failure(
        kind=FailureKind.FATAL if planning else FailureKind.USER,
        message=one_line(error) + (_temporary_room() if found_disk_full(error) else ""),
        traceback=user_traceback(error),
        record=record_text(record),
        input=input,
    )


def found_disk_full(error: BaseException) -> bool:
    """Return whether it is for want of room on a disk that user code has failed."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _temporary_room() -> str:
    directory = tempfile.gettempdir()
    state = os.statvfs(directory)
    free, total = state.f_bavail * state.f_frsize, state.f_blocks * state.f_frsize
    return (
        f"; the disk of {directory}, where the task's temporary files are, has {free:,} of"
        f" {total:,} bytes left: free space there, or write less"
    )


def damage_of(error: FrameCorruptError, source: str) -> Failure:
    """Return the failure of an attempt that found *source* damaged.

    What this job's own attempts wrote can be made again; what else there is cannot.
    """
    kind = FailureKind.DATA if error.origin is None else FailureKind.INFRASTRUCTURE
    return Failure(kind=kind, message=f"damaged input: {source}: {error}", input=source)


def one_line(error: BaseException) -> str:
    """Return "ValueError: the first line of what it says", cut to a sane length.

    The name is left out if it is one of the engine's and the message says all.
    """
    name = type(error).__name__
    try:
        # Only its first line is looked for more lines: there may be millions.
        lines = str(error).strip().partition("\n")[0].splitlines()
    except Exception as broken:
        lines = [f"(its str() raised {type(broken).__name__})"]
    if isinstance(error, _SAY_ALL) and lines:
        return _cut(lines[0], _MESSAGE_CHARACTERS)
    return _cut(f"{name}: {lines[0]}" if lines else name, _MESSAGE_CHARACTERS)


def user_traceback(error: BaseException) -> str:
    """Return the traceback without the engine's frames, so that it opens with the user's.

    If the user has no part in it, it is the engine's own fault, and all of it is kept. Not so for
    errors whose messages say all: no line of the user's code runs any more.
    """
    if isinstance(error, _SAY_ALL) and not _has_users_frame(error):
        return ""
    described = traceback.TracebackException.from_exception(error)
    for part in _chain(described):
        users = [frame for frame in part.stack if not frame.filename.startswith(_ENGINE)]
        if users:
            part.stack[:] = users
        _shorten(part)
    return _cut("".join(described.format()), _TRACEBACK_CHARACTERS)


def record_text(record: object) -> str:
    """Return ``repr(record)``, at most 1,000 characters, whatever its size and its bugs.

    NOTHING is an empty string.
    """
    if record is NOTHING:
        return ""
    try:
        text = _REPR.repr(record)
    except Exception as error:
        text = f"<{type(record).__name__} whose repr() raised {type(error).__name__}>"
    return _cut(text, RECORD_CHARACTERS)


def _has_users_frame(error: BaseException | None) -> bool:
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if not frame.f_code.co_filename.startswith((*_ENGINE, *_HELPERS)):
                return True
        error = error.__cause__
    return False


def _chain(error: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    pending = [error]
    while pending:
        part = pending.pop()
        if part is None:
            continue
        yield part
        pending += [part.__cause__, part.__context__, *(part.exceptions or ())]


def _shorten(part: traceback.TracebackException) -> None:
    """Leave no more of what an exception says than is shown: each line takes time to be formatted.

    If another version of Python has no ``_str``, this saves none.
    """
    part._str = _cut(str(part), _TRACEBACK_CHARACTERS)  # type: ignore[attr-defined]
    notes = part.__notes__
    if isinstance(notes, list):
        part.__notes__ = [_shortened_note(note) for note in notes[:_MOST_NOTES]]


def _shortened_note(note: object) -> Any:
    return _cut(note, _TRACEBACK_CHARACTERS) if isinstance(note, str) else note


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = (limit - 40) // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters cut …]\n{text[-half:]}"


class _RecordRepr(reprlib.Repr):
    """repr() that looks at no more of a large record than it shows."""

    def __init__(self) -> None:
        super().__init__()
        many = 100
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = many
        self.maxdeque = self.maxarray = many
        self.maxstring = self.maxother = self.maxlong = RECORD_CHARACTERS
        self.maxlevel = 8

    def repr_bytes(self, value: bytes, level: int) -> str:
        """Return as much of *value* as is shown."""
        return self._shortened(value)

    def repr_bytearray(self, value: bytearray, level: int) -> str:
        """Return as much of *value* as is shown."""
        return self._shortened(value)

    def repr_str(self, value: str, level: int) -> str:
        """Return as much of *value* as is shown; its end, too, is of no use."""
        return self._shortened(value)

    def _shortened(self, value: Any) -> str:
        text = repr(value[:RECORD_CHARACTERS])
        if len(value) <= RECORD_CHARACTERS and len(text) <= RECORD_CHARACTERS:
            return text
        return f"{text[: RECORD_CHARACTERS - 40]}… (its length is {len(value):,})"


_REPR = _RecordRepr()
