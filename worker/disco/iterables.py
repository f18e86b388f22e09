"""Small helpers about collections, pairs and iterators; ``disco.util`` offers them to programs."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

from disco.entries import SortedEntries

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
