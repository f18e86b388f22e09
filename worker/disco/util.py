"""Small helpers that programs written for Disco use.

For programs only: the library itself does not import this, since it stands on all of that.
"""

import hashlib
from typing import Any, NoReturn

from disco.error import DataError, DiscoError, UnsupportedError
from disco.functions import argcount, globalize, reify
from disco.inputlists import (
    deref,
    inputexpand,
    inputlist,
    ispartitioned,
    parse_dir,
    read_index,
    urlresolve,
)
from disco.iterables import (
    chainify,
    flatten,
    identity,
    ilen,
    isiterable,
    iskv,
    iterify,
    key,
    kvgroup,
    kvify,
    listify,
    partition,
    shuffled,
)
from disco.sorting import decode, disk_sort, dsorted, encode, sort_reader, unix_sort
from disco.urls import (
    assert_url,
    jobname,
    localize,
    netloc,
    proxy_url,
    schemesplit,
    urljoin,
    urlsplit,
    urltoken,
)

__all__ = [
    "argcount",
    "assert_url",
    "chainify",
    "data_err",
    "decode",
    "deref",
    "disk_sort",
    "dsorted",
    "encode",
    "err",
    "external",
    "flatten",
    "format_size",
    "globalize",
    "hexhash",
    "identity",
    "ilen",
    "inputexpand",
    "inputlist",
    "isiterable",
    "iskv",
    "ispartitioned",
    "iterify",
    "jobname",
    "key",
    "kvgroup",
    "kvify",
    "listify",
    "load_oob",
    "localize",
    "msg",
    "netloc",
    "parse_dir",
    "partition",
    "proxy_url",
    "read_index",
    "reify",
    "save_oob",
    "schemesplit",
    "shuffled",
    "sort_reader",
    "unix_sort",
    "urljoin",
    "urlresolve",
    "urlsplit",
    "urltoken",
]


def hexhash(data: bytes) -> str:
    """Return two hexadecimal digits that depend on *data* only."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()[:2]


def external(files: Any) -> dict[str, bytes]:
    """Return the files of an external program, as ``map`` and ``reduce`` take them."""
    from disco.worker.classic.external import package  # few jobs need it

    return package(files)


def save_oob(host: Any, name: str, key: str, value: bytes, ddfs_token: str | None = None) -> None:
    """Put a value beside the records of the running task, as ``Task.put`` does.

    Raises:
        UnsupportedError: No task of the job *name* runs here: only tasks put values.
    """
    from disco.task import running_task

    task = running_task()
    if task is None or task.jobname != name:
        raise UnsupportedError(f"{key!r} can only be put by a task of {name}: put(key, value)")
    task.put(key, value)


def load_oob(host: Any, name: str, key: str) -> bytes:
    """Return a value that a task of the job *name* has put, as ``Disco.oob_get`` does."""
    from disco.core import Disco

    return Disco(host).oob_get(name, key)


def msg(message: str) -> None:
    """Print *message*; in a task, it becomes one of the job's events."""
    print(message)


def err(message: str) -> NoReturn:
    """Raise a DiscoError with *message*."""
    raise DiscoError(message)


def data_err(message: str, url: str) -> NoReturn:
    """Raise a DataError: *url* cannot be read, but another attempt may be able to."""
    raise DataError(message, url)


def format_size(size_bytes: float) -> str:
    """Return *size_bytes* for people: ``1.5 MB``; powers of 1024."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} TB"
