"""Find a job's inputs and cut them into tasks. Runs in the plan task, with the job's credentials.

What is missing, unreadable or empty is found here, before any work is done: a FATAL failure that
names the URL as the user wrote it and says what to do.
"""

import errno
import glob
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.core.parts import StoredPart, part_of
from disco_engine.inputs.opening import head_of, pieces
from disco_engine.inputs.urls import (
    DIR,
    DISCO,
    FRAMES_SUFFIX,
    RAW,
    URL,
    failed,
    filesystem,
    is_http,
    is_utf8,
    local_path,
    reason_of,
    scheme_of,
    suffix_of,
)
from disco_engine.program import ProgramError, fatal

log = logging.getLogger(__name__)

_HIDDEN = (".", "_")
"""How names begin that are no data: editors' files, ``_SUCCESS``, ``_temporary``."""


class _File(NamedTuple):
    """A file that exists; its size in bytes, or None if its server does not say."""

    url: str
    size: int | None


def expand(
    inputs: Sequence[tuple[str, ...]], *, split_size_bytes: int, splittable: bool
) -> tuple[TaskInput, ...]:
    """Return one TaskInput per task of the first stage, in the order of *inputs*.

    Directories become the files below them and patterns the files that match, both sorted and
    without names that begin with "." or "_". ``dir://`` names an index: lines of "label url size".
    A part of another job's result has the label that its URL says, or else 0.

    Args:
        inputs: The replicas of one input each: URLs with the same content. A directory or a
            pattern has no replicas.
        split_size_bytes: Files larger than this are cut into ranges of about equal length, at
            most this long.
        splittable: The reader takes ranges. Compressed files, and those of web servers that only
            send the whole, are not cut even so.

    Raises:
        ProgramError: FATAL: an input is missing, empty of files, not readable or not understood.
            USER or DATA: its storage cannot be reached now.
    """
    if split_size_bytes < 1:
        raise fatal(f"the split size is {split_size_bytes} bytes: it must be at least 1")
    tasks: list[TaskInput] = []
    for replicas in inputs:
        if not replicas:
            raise fatal("an input has no URL: give at least one for each")
        if len(replicas) > 1:
            tasks.extend(_tasks(_replicas(replicas), split_size_bytes, splittable))
        elif scheme_of(replicas[0]) == DIR:
            tasks.extend(_indexed(replicas[0]))
        elif scheme_of(replicas[0]) == DISCO:
            tasks.append(_result(replicas[0]))
        else:
            for file in _files(replicas[0]):
                tasks.extend(_tasks([file], split_size_bytes, splittable))
    for task in tasks:
        if not all(map(is_utf8, task.urls)):
            raise fatal(f"the file name {task.urls[0]!r} is not UTF-8: rename the file")
    return tuple(tasks)


def _tasks(replicas: list[_File], split_size_bytes: int, splittable: bool) -> Iterator[TaskInput]:
    """Yield the ranges of one file, or all of it."""
    urls = tuple(file.url for file in replicas)
    size = replicas[0].size
    large = size is not None and size > split_size_bytes
    if size is None or not (splittable and large and all(_can_be_cut(url) for url in urls)):
        yield TaskInput(urls=urls)
        return
    for file in replicas:
        if file.size != size:
            raise fatal(
                f"replicas differ: {urls[0]} has {size} bytes, {file.url} has {file.size}; "
                "replicas of one input must have the same content"
            )
    ranges = -(-size // split_size_bytes)
    step = -(-size // ranges)
    for offset in range(0, size, step):
        yield TaskInput(urls=urls, offset=offset, length=min(step, size - offset))


def _result(url: str) -> TaskInput:
    """Return the task of a part of another job's result."""
    try:
        part = part_of(url)
    except ValueError as error:
        raise fatal(str(error), input=url) from error
    if not isinstance(part, StoredPart):
        raise fatal(
            f"{url} is the result of a job on a server, which only jobs on the same disco serve can"
            " read: give that job an output URL, and this one the files there",
            input=url,
        )
    return TaskInput(urls=(url,), label=part.label or 0)


def _can_be_cut(url: str) -> bool:
    if suffix_of(url) == FRAMES_SUFFIX:
        return False
    head = head_of(url)
    return head.seekable and head.codec is None


def _replicas(urls: tuple[str, ...]) -> list[_File]:
    """Return those of *urls* that exist, if one does."""
    found: list[_File] = []
    errors: list[ProgramError] = []
    for url in urls:
        if scheme_of(url) == DIR:
            raise fatal(f"{url} cannot be a replica: give the files of the index", input=url)
        if scheme_of(url) == DISCO:
            raise fatal(f"{url}, a part of a result, cannot be a replica", input=url)
        try:
            files = _files(url)
        except ProgramError as error:
            errors.append(error)
            log.warning("replica left out", extra={"url": url, "error": error.failure.message})
            continue
        if len(files) != 1:
            raise fatal(f"{url} has {len(files)} files: a replica must be one file", input=url)
        found.extend(files)
    if not found:
        final = all(error.failure.kind is FailureKind.FATAL for error in errors)
        raise (fatal if final else failed)(
            f"none of the {len(urls)} replicas can be read: "
            + "; ".join(error.failure.message for error in errors),
            input=" ".join(urls),
        )
    return found


def _files(url: str) -> list[_File]:
    """Return the files that *url* stands for, at least one."""
    if scheme_of(url) in (RAW, URL):
        return [_File(url, None)]
    path = local_path(url)
    return _remote_files(url) if path is None else _local_files(path, url)


# --- local files ------------------------------------------------------------------------------


def _local_files(path: str, given: str) -> list[_File]:
    try:
        if os.path.isdir(path):
            found = list(_below(path, ()))
        elif os.path.lexists(path) or not glob.has_magic(path):
            found = [_local_file(path)]
        else:
            found = list(_matching(path))
            if not found:
                raise fatal(f"no file matches {_named(path, given)}", input=given)
    except OSError as error:
        broken = path if error.filename is None else str(error.filename)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            message = f"no such file: {_named(broken, given)}"
        else:
            message = f"cannot read {_named(broken, given)}: {reason_of(error)}"
        raise fatal(message, input=given) from error
    if not found:
        raise fatal(
            f"no files in the directory {_named(path, given)}; names that begin with "
            '"." or "_" do not count',
            input=given,
        )
    return sorted(found)


def _local_file(path: str) -> _File:
    """Return the file at *path*.

    Raises:
        OSError: It does not exist, or may not be read.
        ProgramError: FATAL: it is something else than a file.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise fatal(f"cannot read {path}: it is a pipe, socket or device, not a file", input=path)
    if not os.access(path, os.R_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return _File(path, status.st_size)


def _below(directory: str, above: tuple[tuple[int, int], ...]) -> Iterator[_File]:
    """Yield the files below *directory*, following links, but not in circles.

    Args:
        directory: Where to look.
        above: Device and inode of the directories on the way here.
    """
    status = os.stat(directory)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_HIDDEN):
                continue
            if entry.is_dir():
                yield from _below(entry.path, (*above, here))
            else:
                yield _local_file(entry.path)


def _matching(pattern: str) -> Iterator[_File]:
    """Yield the files that match, and those below directories that match, each once."""
    fixed = pattern[: len(pattern) - len(_open_part(pattern))]
    seen = set()
    for path in glob.iglob(pattern, recursive=True):
        if _is_hidden(path[len(fixed) :], _open_part(pattern)):
            continue
        for file in _below(path, ()) if os.path.isdir(path) else [_local_file(path)]:
            if file.url not in seen:
                seen.add(file.url)
                yield file


# --- everything else --------------------------------------------------------------------------


def _remote_files(url: str) -> list[_File]:
    fs, path = filesystem(url)
    try:
        # Listings are cached in this process, which may have planned an earlier job.
        fs.invalidate_cache()
        try:
            info = fs.info(path)
        except FileNotFoundError:
            if is_http(url) or not glob.has_magic(path):
                raise
            return _remote_matching(fs, path, url)
        if info["type"] != "directory":
            return [_File(url, info.get("size"))]
        found = fs.find(path, detail=True)
    except (ProgramError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise _unreachable_or_missing(url, error) from error
    except PermissionError as error:
        raise fatal(f"cannot read {url}: {reason_of(error)}", input=url) from error
    except Exception as error:  # each kind of storage has errors of its own
        raise failed(f"cannot list {url}: {reason_of(error)}", input=url) from error
    files = [
        _File(fs.unstrip_protocol(name), entry.get("size"))
        for name, entry in found.items()
        if not _is_hidden(name[len(path) :], "")
    ]
    if not files:
        raise fatal(
            f'no files below {url}; names that begin with "." or "_" do not count', input=url
        )
    return sorted(files)


def _remote_matching(fs: Any, path: str, url: str) -> list[_File]:
    open_part = _open_part(path)
    fixed = len(path) - len(open_part)
    files = {}
    for name, entry in fs.glob(path, detail=True).items():
        below = {name: entry}
        if entry["type"] == "directory":
            below = fs.find(name, detail=True)
        for file, details in below.items():
            if not _is_hidden(file[fixed:], open_part):
                files[file] = _File(fs.unstrip_protocol(file), details.get("size"))
    if not files:
        raise fatal(f"no file matches {url}", input=url)
    return sorted(files.values())


def _unreachable_or_missing(url: str, error: FileNotFoundError) -> ProgramError:
    """Return what a FileNotFoundError means: fsspec raises it for all that HTTP servers refuse."""
    status = getattr(error.__cause__, "status", None)
    if error.__cause__ is None or status in (404, 410):
        return fatal(f"no such file: {url}", input=url)
    reason = reason_of(error.__cause__)
    if status in (401, 403):
        return fatal(f"cannot read {url}: {reason}", input=url)
    return failed(f"cannot reach {url}: {reason}", input=url)


# --- indexes and patterns ---------------------------------------------------------------------


def _indexed(url: str) -> list[TaskInput]:
    """Return a task per line of the index that ``dir://`` names, ascending by label, then URL."""
    index = url[len(DIR) + 3 :]
    if os.path.isdir(local_path(index) or ""):
        raise fatal(
            f"{url} is a directory, but dir:// is for an index: a file with a line"
            f" 'label url size' for each input; to read the files of the directory, give {index}",
            input=url,
        )
    folder = os.path.dirname(local_path(index) or "")
    if folder:
        _local_files(index, url)
    entries = []
    for number, line in enumerate(b"".join(pieces(index)).splitlines(), start=1):
        try:
            label, _, rest = line.decode().partition(" ")
            target, _, size = rest.rpartition(" ")
            if not target:
                raise ValueError("no URL")
            entries.append((int(label), target, int(size)))
        except ValueError as error:
            raise fatal(
                f"{url}, line {number}: expected 'label url size', found {line[:200]!r}", input=url
            ) from error
    return [
        TaskInput(
            urls=(target if scheme_of(target) else os.path.join(folder, target),), label=label
        )
        for label, target, _size in sorted(entries)
    ]


def _open_part(pattern: str) -> str:
    """Return *pattern* from its first name with a wildcard on."""
    names = pattern.split("/")
    first = next(index for index, name in enumerate(names) if glob.has_magic(name))
    return "/".join(names[first:])


def _is_hidden(path: str, pattern: str) -> bool:
    """Tell whether a name in *path* is no data, and none of *pattern* asks for such names."""
    wanted = tuple(begin for begin in _HIDDEN if any(n[:1] == begin for n in pattern.split("/")))
    return any(name.startswith(_HIDDEN) and not name.startswith(wanted) for name in path.split("/"))


def _named(path: str, given: str) -> str:
    """Return how to call *path* so that the user finds it in the job, and on the disk."""
    if path == given:
        return path
    name = f"{path} (given as input {given!r})"
    if scheme_of(given) or given.startswith(("/", "~")):
        return name
    return f"{name}; relative paths are resolved against {os.getcwd()}"
