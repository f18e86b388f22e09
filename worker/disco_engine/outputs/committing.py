"""An output's life: prepared by the plan task, committed by the commit task, or removed.

    nothing or empty --prepare--> _RUNNING, _temporary --commit--> part-00000.txt ..., _SUCCESS
                                          |
                                          +--remove_temporary--> as it was before

Each step may be repeated: by the next attempt when a worker died in the middle, or by a
coordinator that was restarted. ``_RUNNING`` and ``_SUCCESS`` name the job, so that a step knows its
own job's work from another's.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from disco_engine.core.model import FailureKind
from disco_engine.inputs.urls import local_path
from disco_engine.outputs.directories import Directory, directory_of, writing
from disco_engine.outputs.formats import format_of
from disco_engine.program import OutputCompleteError, ProgramError, fatal

RUNNING, SUCCESS, TEMPORARY = "_RUNNING", "_SUCCESS", "_temporary"

PART = re.compile(r"part-\d{5,}\.[a-z]+")
"""Matches the names of all parts."""


class _Owner(NamedTuple):
    """What ``_RUNNING`` and ``_SUCCESS`` say.

    Attributes:
        job: Uid of the job whose output this is; "" if the file does not say.
        made: The job made the directory, and removes it if it fails.
    """

    job: str
    made: bool


def temporary_of(job_uid: str) -> str:
    """Return the name of the job's temporary directory in its output directory."""
    return f"{TEMPORARY}/{job_uid}"


def prepare(url: str, format: str, job_uid: str) -> None:
    """Make the output directory the job's own.

    Raises:
        OutputCompleteError: The job has committed it already.
        ProgramError: FATAL: it has files already, or is another job's, or cannot be written;
            or the format is unknown. USER: its storage cannot be reached now.
    """
    format_of(format)
    directory = directory_of(url)
    try:
        with writing(f"the output directory {directory.url}"):
            _claim(directory, job_uid)
    except ProgramError as error:
        if local_path(url) is None or error.failure.kind is FailureKind.FATAL:
            raise
        # What is wrong with a path is wrong at the next attempt, too.
        raise fatal(error.failure.message) from error


def _claim(directory: Directory, job_uid: str) -> None:
    names = directory.names()
    owner = _owner(directory, RUNNING) if RUNNING in names else None
    if owner is None and names and is_owned(directory, SUCCESS, job_uid):
        raise OutputCompleteError
    if owner is None:
        if names:
            raise fatal(
                f"output directory {directory.url} exists and is not empty (it has {names[0]}): "
                "choose another, or remove it"
            )
        made = directory.make()
        mine = json.dumps({"job": job_uid, "made_directory": made}).encode()
        try:
            directory.create(RUNNING, mine)
        except FileExistsError:
            owner = _owner(directory, RUNNING)
    if owner is not None and owner.job != job_uid:
        raise fatal(
            f"output directory {directory.url} is being written by the job {owner.job or '?'}, or "
            "was when that died: choose another, or remove it"
        )
    temporary = f"{temporary_of(job_uid)}/_job"
    if not directory.exists(temporary):
        directory.create(temporary, job_uid.encode())


def commit(url: str, format: str, job_uid: str, files: Sequence[str]) -> None:
    """Make the winners' files the job's output.

    Args:
        url: The output directory.
        format: Its format.
        job_uid: The job that prepared it.
        files: The ``file_name`` of each part's writer, in part order.

    Raises:
        ProgramError: FATAL: a file is gone, or the directory is not the job's. USER: the storage
            fails; what has been moved stays, and the next attempt goes on.
    """
    directory = directory_of(url)
    extension = format_of(format).extension
    with writing(f"the output directory {directory.url}"):
        if not is_owned(directory, RUNNING, job_uid):
            if is_owned(directory, SUCCESS, job_uid):
                return
            raise fatal(
                f"output directory {directory.url} is not the job's any more: somebody removed or "
                "replaced it while the job ran"
            )
        parts = [f"part-{index:05}{extension}" for index in range(len(files))]
        for part, file in zip(parts, files, strict=True):
            source = f"{temporary_of(job_uid)}/{file}"
            if not directory.move(source, part) and not directory.exists(part):
                raise fatal(
                    f"{directory.url}/{source}, which becomes {part}, is gone: somebody removed "
                    "it while the job ran"
                )
        # A commit that ended midway may have moved more, if tasks were run again since.
        for name in set(directory.names()) - set(parts):
            if PART.fullmatch(name):
                directory.remove(name)
        _remove_temporary_files(directory, job_uid)
        if not directory.move(RUNNING, SUCCESS) and not is_owned(directory, SUCCESS, job_uid):
            raise fatal(f"{directory.url}/{RUNNING} is gone: somebody removed it")


def remove_temporary(url: str, job_uid: str) -> None:
    """Remove what the job left in its output directory, unless it is committed.

    Also removes the directory, if the job made it and nothing else is in it. Removing again, or
    removing what was never prepared, is fine.

    Raises:
        ProgramError: USER: the storage fails.
    """
    directory = directory_of(url)
    with writing(f"the output directory {directory.url}"):
        owner = _owner(directory, RUNNING)
        if owner is None or owner.job != job_uid:
            _remove_temporary_files(directory, job_uid)
            return
        # Object stores rename by copying: a commit may have died when both markers were there.
        committed = is_owned(directory, SUCCESS, job_uid)
        for name in () if committed else directory.names():
            if PART.fullmatch(name):  # a commit that was given up midway
                directory.remove(name)
        _remove_temporary_files(directory, job_uid)
        directory.remove(RUNNING)
        if owner.made:
            directory.remove_if_empty()


def _remove_temporary_files(directory: Directory, job_uid: str) -> None:
    directory.remove(temporary_of(job_uid))
    directory.remove_if_empty(TEMPORARY)


def is_owned(directory: Directory, name: str, job_uid: str) -> bool:
    """Return whether *name*, which is RUNNING or SUCCESS, is there and the job's."""
    owner = _owner(directory, name)
    return owner is not None and owner.job == job_uid


def _owner(directory: Directory, name: str) -> _Owner | None:
    """Return what the file says, or None if there is none."""
    data = directory.read(name)
    if data is None:
        return None
    try:
        fields = json.loads(data)
        return _Owner(str(fields["job"]), bool(fields["made_directory"]))
    except (ValueError, KeyError, TypeError):  # _SUCCESS of some other program
        return _Owner("", False)
