"""Small helpers that programs written for Disco use."""

import ast
import functools
import hashlib
import importlib
import inspect
import random
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NoReturn, TypeVar

from disco.entries import SortedEntries
from disco.error import DataError, DiscoError, UnsupportedError
from disco.inputlists import deref, inputexpand, inputlist, ispartitioned, parse_dir, read_index
from disco.sorting import decode, disk_sort, dsorted, encode, sort_reader, unix_sort
from disco.urls import (
    assert_url,
    jobname,
    localize,
    netloc,
    proxy_url,
    schemesplit,
    urljoin,
    urlresolve,
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

T = TypeVar("T")

_KEY = itemgetter(0)
_VALUE = itemgetter(1)


def kvgroup(kviter: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Iterable[Any]]]:
    """Yield each key with an iterable of its values.

    Args:
        kviter: (key, value) pairs in which equal keys are adjacent, such as sorted ones.

    Yields:
        (key, values) per run of equal keys. Read the values before asking for the next key.
    """
    # What comes sorted from the engine is grouped already.
    if isinstance(kviter, SortedEntries) and (groups := kviter.groups()) is not None:
        return groups
    return ((key, map(_VALUE, run)) for key, run in groupby(kviter, _KEY))


def identity(value: T) -> T:
    """Return *value*."""
    return value


def isiterable(value: object) -> bool:
    """Return whether *value* is a collection or an iterator; a string is neither."""
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes)


def iskv(value: object) -> bool:
    """Return whether *value* is a (key, value) tuple."""
    return isinstance(value, tuple) and len(value) == 2


def iterify(value: Any) -> Iterable[Any]:
    """Return *value* if it is iterable (and no string), else a tuple that holds it."""
    return value if isiterable(value) else (value,)


def listify(value: Any) -> list[Any]:
    """Return a list of what *value* holds, or that holds *value* if it holds nothing."""
    return list(iterify(value))


def chainify(iterables: Iterable[Iterable[T]]) -> list[T]:
    """Return one list of the items of all *iterables*."""
    return list(chain.from_iterable(iterables))


def flatten(value: Iterable[Any]) -> Iterator[Any]:
    """Yield the leaves of nested collections, in order; strings are leaves."""
    for item in value:
        if isiterable(item):
            yield from flatten(item)
        else:
            yield item


def ilen(iterable: Iterable[Any]) -> int:
    """Return how many items are left in *iterable*, which is used up."""
    return sum(1 for _ in iterable)


def key(kv: tuple[Any, Any]) -> Any:
    """Return the key of a pair."""
    return kv[0]


def kvify(value: Any) -> tuple[Any, Any]:
    """Return *value* if it is a pair, else the pair (value, None)."""
    return value if iskv(value) else (value, None)


def shuffled(values: Iterable[T]) -> list[T]:
    """Return the items in random order."""
    items = list(values)
    random.shuffle(items)
    return items


def partition(iterable: Iterable[T], condition: Callable[[T], object]) -> tuple[list[T], list[T]]:
    """Return (items that satisfy *condition*, all others)."""
    chosen: list[T] = []
    others: list[T] = []
    for item in iterable:
        (chosen if condition(item) else others).append(item)
    return chosen, others


def hexhash(data: bytes) -> str:
    """Return two hexadecimal digits that depend on *data* only."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()[:2]


def reify(dotted_name: str, namespace: Mapping[str, Any] | None = None) -> Any:
    """Return what *dotted_name* stands for.

    Args:
        dotted_name: ``package.module.attribute``, a name of *namespace*, or a Python literal.
        namespace: Where plain names are looked up.

    Returns:
        The object. A text that is none of the three is returned as it is.
    """
    if namespace is not None and dotted_name in namespace:
        return namespace[dotted_name]
    try:
        return ast.literal_eval(dotted_name)
    except (ValueError, SyntaxError):
        module, _, name = dotted_name.rpartition(".")
    if not module or not all(part.isidentifier() for part in dotted_name.split(".")):
        return dotted_name
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return dotted_name


def argcount(function: Any) -> int:
    """Return how many positional arguments a caller of *function* passes.

    Arguments that a ``functools.partial`` already has, and a method's ``self``, do not count.
    """
    if isinstance(function, functools.partial):
        return argcount(function.func) - len(function.args) - len(function.keywords)
    if isinstance(function, types.FunctionType):
        return function.__code__.co_argcount
    if isinstance(function, types.MethodType):
        return argcount(function.__func__) - 1
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return 0
    return sum(parameter.kind in _POSITIONAL for parameter in parameters)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def globalize(function: Any, names: Mapping[str, Any]) -> None:
    """Let *function* use *names* without importing them; names it has already are kept."""
    while isinstance(function, functools.partial):
        function = function.func
    scope = getattr(function, "__globals__", None)  # builtins and callable objects have none
    if scope is not None:
        for name, value in names.items():
            scope.setdefault(name, value)


def external(files: Any) -> dict[str, bytes]:
    """Return the files of an external program, as ``map`` and ``reduce`` take them."""
    from disco.worker.classic.worker import external as packaged  # which needs this module

    found: dict[str, bytes] = packaged(files)
    return found


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
