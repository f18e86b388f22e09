"""Functions that classic jobs use, and the shapes of those they give.

The first group documents how each parameter's function is called; they are never called themselves.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from disco.compat import (
    bytes_to_str,
    force_ascii,
    force_utf8,
    pickle_dump,
    pickle_dumps,
    pickle_load,
    pickle_loads,
    str_to_bytes,
)
from disco.error import CommError, DataError, DiscoError, JobError
from disco.iterables import kvgroup
from disco.worker.task_io import (
    chain_reader,
    chain_stream,
    default_stream,
    disco_input_stream,
    disco_output_stream,
    gzip_line_reader,
    gzip_line_stream,
    gzip_reader,
    gzip_stream,
    old_netstr_reader,
    re_reader,
    string_input_stream,
    task_input_stream,
    task_output_stream,
)
from disco_engine.core.partitioning import partition_of

__all__ = [
    "CommError",
    "DataError",
    "DiscoError",
    "JobError",
    "bytes_to_str",
    "chain_reader",
    "chain_stream",
    "combiner",
    "default_partition",
    "default_stream",
    "disco_input_stream",
    "disco_output_stream",
    "force_ascii",
    "force_utf8",
    "gzip_line_reader",
    "gzip_line_stream",
    "gzip_reader",
    "gzip_stream",
    "init",
    "kvgroup",
    "make_range_partition",
    "map",
    "map_input_stream",
    "map_output_stream",
    "noop",
    "nop_map",
    "nop_reduce",
    "notifier",
    "old_netstr_reader",
    "partition",
    "pickle_dump",
    "pickle_dumps",
    "pickle_load",
    "pickle_loads",
    "re",
    "re_reader",
    "reduce",
    "reduce2",
    "reduce_input_stream",
    "reduce_output_stream",
    "str_to_bytes",
    "string_input_stream",
    "sum_combiner",
    "sum_reduce",
    "task_input_stream",
    "task_output_stream",
]

map_input_stream = reduce_input_stream = task_input_stream
map_output_stream = reduce_output_stream = task_output_stream


def notifier(url: str) -> None:
    """Hear that ``result_iterator`` is about to read *url*."""


def map(entry: Any, params: Any) -> Iterable[tuple[Any, Any]]:
    """Return (key, value) pairs for one entry of the input; any iterable of pairs will do."""
    raise NotImplementedError


def partition(key: Any, nr_partitions: int, params: Any) -> int:
    """Return the label of the reduce task that *key* belongs to."""
    raise NotImplementedError


def combiner(
    key: Any, value: Any, buf: dict[Any, Any], done: bool, params: Any
) -> Iterable[tuple[Any, Any]] | None:
    """Take one pair that the map made, or, with ``done``, none (key and value are None).

    Args:
        key: Of the pair.
        value: Of the pair.
        buf: What this function keeps between calls; one per task and partition.
        done: There are no more pairs.
        params: The task's copy of the job's parameter.

    Returns:
        Pairs that go on to the reduce now, or None.
    """
    raise NotImplementedError


def reduce(pairs: Iterable[tuple[Any, Any]], out: Any, params: Any) -> None:
    """Read all pairs of one partition; ``out.add(key, value)`` adds to the result."""
    raise NotImplementedError


def reduce2(pairs: Iterable[tuple[Any, Any]], params: Any) -> Iterable[tuple[Any, Any]]:
    """Read all pairs of one partition and return the pairs of the result."""
    raise NotImplementedError


def init(entries: Iterable[Any], params: Any) -> None:
    """Prepare a task before its first entry; what is taken from *entries* here, is gone."""


def default_partition(key: Any, nr_partitions: int, params: Any) -> int:
    """Return the partition of *key* by its hash: the same in all processes and versions."""
    return partition_of(key, nr_partitions)


def make_range_partition(min_val: int, max_val: int) -> Callable[[Any, int, Any], int]:
    """Return a partition function that keeps numbers in order.

    Args:
        min_val: The smallest key, or a little less.
        max_val: The largest key, or a little more.

    Returns:
        A function that divides the range into partitions of equal width, ascending. Keys outside
        go to the first or last one.
    """
    width = max_val - min_val + 1

    def range_partition(key: Any, nr_partitions: int, params: Any) -> int:
        place = (int(key) - min_val) * nr_partitions // width
        return max(0, min(nr_partitions - 1, place))

    return range_partition


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def nop_map(entry: tuple[Any, Any], params: Any) -> Iterator[tuple[Any, Any]]:
    """Pass an entry that is a pair on as it is."""
    yield entry


def nop_reduce(pairs: Iterable[tuple[Any, Any]], out: Any, params: Any) -> None:
    """Pass all pairs on as they are."""
    for key, value in pairs:
        out.add(key, value)


def sum_combiner(
    key: Any, value: Any, buf: dict[Any, Any], done: bool, params: Any
) -> Iterable[tuple[Any, Any]] | None:
    """Add up the values of each key."""
    if done:
        return buf.items()
    buf[key] = buf.get(key, 0) + value
    return None


def sum_reduce(pairs: Iterable[tuple[Any, Any]], params: Any) -> Iterator[tuple[Any, int]]:
    """Yield each key with the sum of its values, which may be texts of whole numbers."""
    sums: dict[Any, int] = {}
    for key, value in pairs:
        sums[key] = sums.get(key, 0) + int(value)
    return iter(sums.items())
